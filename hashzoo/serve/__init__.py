"""The search service: collections behind an HTTP interface and one page (`hashzoo serve`)."""
