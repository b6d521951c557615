"""The words that columns are called by: English ones, those of other tools, and some in other scripts."""

DATES = (
    "date", "datetime", "day", "trade_date", "trading_date", "tradedate", "timestamp", "time", "dt", "date_time",
    "trading_day", "tradingday", "trade_dt", "trddt", "datadate", "as_of_date", "open_time", "opentime", "window_start",
    "start_time", "time_key",
)  # fmt: skip
SYMBOLS = (
    "symbol", "ticker", "instrument", "asset", "security", "stock", "code", "tic", "sid", "secid", "permno",
    "isin", "cusip", "figi", "ric", "instrument_id", "asset_id", "security_id", "ts_code", "stock_code", "wind_code",
    "order_book_id", "stkcd", "secucode", "sec_code", "ticker_symbol", "stock_symbol", "act_symbol", "pair", "id", "name",
)  # fmt: skip
GROUPS = ("market", "sector", "industry", "subindustry", "country", "exchange", "currency")
UNIVERSE = ("universe", "in_universe")
PRICES = ("open", "high", "low", "close", "vwap")
AMOUNTS = ("volume", "cap", "adv20", "sharesout")

SYNONYMS = {
    "vol": "volume", "market_cap": "cap", "marketcap": "cap", "mktcap": "cap", "mkt_cap": "cap",
    "shares_outstanding": "sharesout", "shrout": "sharesout", "ret": "returns", "return": "returns",
    "open_price": "open", "high_price": "high", "low_price": "low", "close_price": "close", "closing_price": "close",
    "openprice": "open", "highprice": "high", "lowprice": "low", "closeprice": "close", "price_close": "close",
    "tottrdqty": "volume", "trade_volume": "volume", "volume_weighted_average_price": "vwap",
    "sub_industry": "subindustry", "gics_sector": "sector", "gics_industry": "industry",
    "gics_sub_industry": "subindustry",
}  # fmt: skip
SECOND_CHOICE = {"price": "close", "last": "close"}
"""Words that mean a field only where no other column does."""

OTHER_SCRIPTS = {
    "日期": "date", "交易日期": "date", "交易日": "date", "时间": "date", "日付": "date", "날짜": "date", "일자": "date",
    "股票代码": "symbol", "证券代码": "symbol", "代码": "symbol", "基金代码": "symbol", "指数代码": "symbol",
    "合约代码": "symbol", "證券代號": "symbol", "股票代號": "symbol", "銘柄コード": "symbol", "コード": "symbol",
    "종목코드": "symbol", "티커": "symbol",
    "开盘": "open", "开盘价": "open", "今开": "open", "開盤價": "open", "始値": "open", "시가": "open",
    "最高": "high", "最高价": "high", "最高價": "high", "高値": "high", "고가": "high",
    "最低": "low", "最低价": "low", "最低價": "low", "安値": "low", "저가": "low",
    "收盘": "close", "收盘价": "close", "收盤價": "close", "終値": "close", "종가": "close",
    "成交量": "volume", "成交股數": "volume", "出来高": "volume", "거래량": "volume",
    "总市值": "cap", "시가총액": "cap", "行业": "industry", "所属行业": "industry", "板块": "sector",
}  # fmt: skip
