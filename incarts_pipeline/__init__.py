"""Turn product tables into Incarts links, each made exactly once."""
