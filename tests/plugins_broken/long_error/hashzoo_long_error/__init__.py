raise RuntimeError("no\nend " * 10_000)
