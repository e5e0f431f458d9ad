plugin = object()
