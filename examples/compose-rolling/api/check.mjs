// The health check: one request to the service's own /health.
const answer = await fetch(`http://127.0.0.1:${process.argv[2]}/health`)
process.exit(answer.ok ? 0 : 1)
