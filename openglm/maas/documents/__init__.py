"""Documents and web pages of strangers as text: read in a process of its own, with limits."""
