// A service that answers with its version, or is broken in the way that MODE names.
import { createServer } from 'node:http'

const { VERSION = '1', DEPLOY_VERSION = VERSION, MODE = 'well', PORT = '3000' } = process.env
const say = line => process.stdout.write(`${line}\n`)
const port = MODE === 'wrong-port' ? 8080 : Number(PORT)

say(`version ${VERSION} starts`)
if (MODE === 'crash') throw new TypeError('Cannot read properties of undefined (reading "connect")')
if (MODE === 'needs-env' && !process.env.DATABASE_URL) {
  say('Error: required environment variable DATABASE_URL is not set')
  process.exit(1)
}
if (MODE === 'hungry') {
  const kept = []
  setInterval(() => kept.push(Buffer.alloc(16 * 1024 * 1024, 1)), 20)
}

const statusOf = path => (MODE === 'never-healthy' ? 503 : MODE === 'wrong-path' && path === '/' ? 404 : 200)
const server = createServer((request, response) => {
  const status = statusOf(new URL(request.url ?? '/', 'http://localhost').pathname)
  if (status !== 200) say(`${request.method} ${request.url} ${status}`)
  response
    .writeHead(status, { 'content-type': 'text/plain', 'x-version': DEPLOY_VERSION, connection: 'close' })
    .end(`${DEPLOY_VERSION}\n`)
})
server.listen(port, '0.0.0.0', () => say(`listening on http://0.0.0.0:${port}`))
// Requests that were sent before the name led elsewhere are answered still.
process.on('SIGTERM', () => setTimeout(() => process.exit(0), 3_000))
