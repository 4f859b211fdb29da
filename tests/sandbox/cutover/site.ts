/**
 * A web server as a process of its own: plain HTTP at once, and TLS with each certificate that it is given on a line of its input, on a new
 * port each time, as a proxy that reloads. Says each port on a line of its output.
 */

const [headerName = 'x-site', headerValue = 'here'] = process.argv.slice(2)
const serve = () => new Response('served\n', { headers: { [headerName]: headerValue } })
const say = (line: Readonly<Record<string, unknown>>) => process.stdout.write(`${JSON.stringify(line)}\n`)

// Longer than any test's machine is too busy for an answer.
const plain = Bun.serve({ hostname: '127.0.0.1', port: 0, idleTimeout: 120, fetch: serve })
say({ http: plain.port })
let pending = ''
const decoder = new TextDecoder()
for await (const chunk of Bun.stdin.stream()) {
  pending += decoder.decode(chunk, { stream: true })
  const lines = pending.split('\n')
  pending = lines.pop() ?? ''
  for (const line of lines) {
    const tls = JSON.parse(line)
    say({ https: Bun.serve({ hostname: '127.0.0.1', port: 0, idleTimeout: 120, tls, fetch: serve }).port })
  }
}
process.exit(0)

export {}
