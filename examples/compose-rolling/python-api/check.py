"""The health check: one request to the service's own /health."""
import sys
import urllib.request

urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/health", timeout=2)
