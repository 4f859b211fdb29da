// The example's api and web: answers with its version; /slow takes three seconds; BOOT_MS makes it slow to start.
import { createServer } from 'node:http'

const { PORT = '5000', VERSION = '1', BROKEN = '', BOOT_MS = '1500' } = process.env
const readyAt = Date.now() + Number(BOOT_MS)

const server = createServer(async (request, response) => {
  const path = new URL(request.url ?? '/', 'http://localhost').pathname
  let bytes = 0
  for await (const chunk of request) bytes += chunk.length
  if (Date.now() < readyAt || (path === '/health' && BROKEN !== '')) {
    response.writeHead(503).end('not ready\n')
    return
  }
  if (path === '/slow') await new Promise(resolve => setTimeout(resolve, 3000))
  response
    .writeHead(200, { 'content-type': 'application/json' })
    .end(`${JSON.stringify({ version: VERSION, method: request.method, bytes })}\n`)
})
server.keepAliveTimeout = 65_000
server.listen(Number(PORT), '0.0.0.0')
process.on('SIGTERM', () => {
  server.close(() => process.exit(0))
  server.closeIdleConnections()
})
