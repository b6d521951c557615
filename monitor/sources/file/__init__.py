"""`file:PATH`: a log file, followed over rotation, truncation and replacement."""
