"""One folder per data set: reader, table, datalist, inference list, synthetic stand-in."""
