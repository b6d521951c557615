BEGIN TRANSACTION;
CREATE TABLE calls (
	id VARCHAR(32) NOT NULL, 
	started FLOAT NOT NULL, 
	ended FLOAT NOT NULL, 
	model VARCHAR(512) NOT NULL, 
	rung INTEGER NOT NULL, 
	switches INTEGER NOT NULL, 
	prompt TEXT, 
	reply TEXT, 
	status INTEGER NOT NULL, 
	error TEXT, 
	done_reason VARCHAR(32) NOT NULL, 
	prompt_tokens INTEGER, 
	reply_tokens INTEGER, 
	seed INTEGER NOT NULL, 
	source VARCHAR(16) NOT NULL, 
	valid INTEGER NOT NULL, 
	invalid INTEGER NOT NULL, 
	duplicates INTEGER NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "calls" VALUES('c1',100.0,101.0,'phi3:mini',1,1,'p','r',200,NULL,'',NULL,NULL,0,'model',6,0,0);
CREATE TABLE evaluations (
	id INTEGER NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	settings_key VARCHAR(64) NOT NULL, 
	source VARCHAR(16) NOT NULL, 
	state VARCHAR(8) NOT NULL, 
	owner VARCHAR(255) NOT NULL, 
	expression TEXT NOT NULL, 
	canonical TEXT NOT NULL, 
	model VARCHAR(512) NOT NULL, 
	call_id VARCHAR(32), 
	settings JSON NOT NULL, 
	sharpe FLOAT, 
	turnover FLOAT, 
	fitness FLOAT, 
	returns FLOAT, 
	drawdown FLOAT, 
	margin FLOAT, 
	long_count FLOAT, 
	short_count FLOAT, 
	days INTEGER, 
	checks JSON, 
	alpha_id VARCHAR(64), 
	grade VARCHAR(32), 
	error TEXT, 
	kept BOOLEAN NOT NULL, 
	published BOOLEAN NOT NULL, 
	created FLOAT NOT NULL, 
	time FLOAT, 
	PRIMARY KEY (id), 
	CONSTRAINT evaluated_once UNIQUE (digest, settings_key, source), 
	FOREIGN KEY(call_id) REFERENCES calls (id)
);
INSERT INTO "evaluations" VALUES(1,'cd1652bfdeeb0d95bebc3064ff23dc99','f400c7830c7f0ce0','panel','done','here','rank(ts_delta(close, 5))','rank(ts_delta(close, 5))','phi3:mini','c1','{"panel": "prices.csv", "delay": 1, "decay": 0, "neutralization": "industry", "truncation": 0.08}',1.4,0.2,1.4,0.1,0.05,0.001,10.0,10.0,250,'[{"name": "LOW_SHARPE", "result": "PASS", "limit": 1.25, "value": 1.4}]',NULL,'GOOD',NULL,1,1,101.0,200.0);
INSERT INTO "evaluations" VALUES(2,'fc6d004c9aa5279bafe99355683f54bd','f400c7830c7f0ce0','panel','done','here','rank(ts_mean(volume, 10))','rank(ts_mean(volume, 10))','phi3:mini','c1','{"panel": "prices.csv", "delay": 1, "decay": 0, "neutralization": "industry", "truncation": 0.08}',1.9,0.2,1.9,0.1,0.05,0.001,10.0,10.0,250,'[{"name": "LOW_SHARPE", "result": "PASS", "limit": 1.25, "value": 1.9}]',NULL,'GOOD',NULL,1,0,101.0,201.0);
INSERT INTO "evaluations" VALUES(3,'34f20022e26df8471fda4a2de81e5297','f400c7830c7f0ce0','panel','done','here','zscore(open)','zscore(open)','phi3:mini','c1','{"panel": "prices.csv", "delay": 1, "decay": 0, "neutralization": "industry", "truncation": 0.08}',0.2,0.2,0.2,0.1,0.05,0.001,10.0,10.0,250,'[{"name": "LOW_SHARPE", "result": "PASS", "limit": 1.25, "value": 0.2}]',NULL,'GOOD',NULL,0,0,101.0,202.0);
INSERT INTO "evaluations" VALUES(4,'87de838d4486491b96c42b7672f0f2f4','f400c7830c7f0ce0','panel','failed','here','-rank(close)','reverse(rank(close))','phi3:mini','c1','{"panel": "prices.csv", "delay": 1, "decay": 0, "neutralization": "industry", "truncation": 0.08}',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,'unknown',0,0,101.0,210.0);
INSERT INTO "evaluations" VALUES(5,'7eb7e72fb0caeca000ae87dc4ea07487','f400c7830c7f0ce0','panel','pending','here','rank(vwap)','rank(vwap)','phi3:mini','c1','{"panel": "prices.csv", "delay": 1, "decay": 0, "neutralization": "industry", "truncation": 0.08}',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,101.0,NULL);
INSERT INTO "evaluations" VALUES(6,'f8698e7497e0a69cb42479fa1a4c4d4c','f400c7830c7f0ce0','panel','pending','here','ts_rank(close, 20)','ts_rank(close, 20)','phi3:mini','c1','{"panel": "prices.csv", "delay": 1, "decay": 0, "neutralization": "industry", "truncation": 0.08}',NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,NULL,0,0,101.0,NULL);
CREATE TABLE schema_version (
	version INTEGER NOT NULL, 
	PRIMARY KEY (version)
);
INSERT INTO "schema_version" VALUES(3);
CREATE TABLE simulations (
	id INTEGER NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	settings_key VARCHAR(64) NOT NULL, 
	owner VARCHAR(255) NOT NULL, 
	state VARCHAR(8) NOT NULL, 
	location TEXT, 
	place INTEGER, 
	sent FLOAT NOT NULL, 
	ended FLOAT, 
	status VARCHAR(16), 
	alpha_id VARCHAR(64), 
	message TEXT, 
	PRIMARY KEY (id)
);
CREATE INDEX calls_with_texts ON calls (ended) WHERE prompt IS NOT NULL;
CREATE INDEX calls_by_end ON calls (ended);
CREATE INDEX simulations_by_time ON simulations (owner, sent);
CREATE INDEX simulations_by_expression ON simulations (digest, settings_key);
CREATE INDEX evaluations_by_fitness ON evaluations (state, fitness);
CREATE INDEX evaluations_by_call ON evaluations (call_id);
CREATE INDEX evaluations_by_state ON evaluations (state, time);
CREATE INDEX evaluations_with_checks ON evaluations (time) WHERE checks IS NOT NULL;
COMMIT;
