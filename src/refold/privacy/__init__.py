"""Personal data: which values are, who reads them, how they are taken out again."""
