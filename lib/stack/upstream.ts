/** The proxy's files with addresses in place of names: what a rollout turns nginx to, and how it proves that it did. Pure. */

import { LandfallError } from '../errors.ts'
import type { FileText } from './model.ts'
import { type Directive, listenPorts, parseAddress, parseNginx, walk } from './nginx.ts'

export interface RenderedUpstreams {
  /** Only files that differ from the given ones. */
  readonly files: readonly FileText[]
  /** Where nginx answers with the token once it runs on these files. */
  readonly proof: { readonly port: number; readonly token: string }
}

/** The first line of a file that holds addresses for the time of a switch. Whoever finds it knows that a run was cut short. */
export const SWITCHING = '# Landfall is switching this file; the next deploy or rollback puts the names back.'

const serversOf = (directives: readonly Directive[]): readonly Directive[] =>
  [...walk(directives)].flatMap(({ directive, path }) =>
    directive.name === 'server' && path.at(-1)?.name === 'upstream' ? [directive] : [],
  )

/** The services that `files` have a switchable upstream for. */
export const servicesServed = (files: readonly FileText[], services: readonly string[]): ReadonlySet<string> =>
  new Set(
    files
      .flatMap(file => serversOf(parseNginx(file.text).directives))
      .flatMap(server => parseAddress(server.args[0]?.text ?? '')?.host ?? [])
      .filter(host => services.includes(host)),
  )

/**
 * Replaces `server NAME:PORT …;` in upstreams by one line per address, for the services in `addresses`; adds a server on a port
 * that no other uses, which answers with `token`.
 * @throws unhealthy when a service has no address
 */
export function renderUpstreams(
  files: readonly FileText[],
  addresses: Readonly<Record<string, readonly string[]>>,
  token: string,
): RenderedUpstreams {
  const parsed = files.map(file => ({ file, directives: parseNginx(file.text).directives }))
  const used = new Set(parsed.flatMap(({ directives }) => listenPorts(directives)))
  let port = 48_999
  while (used.has(port)) port++
  let proven = false
  const rendered = parsed.flatMap(({ file, directives }) => {
    const edits: { start: number; end: number; text: string }[] = []
    for (const server of serversOf(directives)) {
      const target = parseAddress(server.args[0]?.text ?? '')
      const found = target && Object.hasOwn(addresses, target.host) ? addresses[target.host] : undefined
      if (!target || !found) continue
      if (found.length === 0)
        throw new LandfallError('unhealthy', `${target.host} has no address in a network that the proxy shares.`)
      const parameters = server.args.slice(1).map(word => file.text.slice(word.start, word.end))
      const line = (address: string) => ['server', `${address}:${target.port}`, ...parameters].join(' ')
      edits.push({ start: server.start, end: server.end, text: found.map(address => `${line(address)};`).join(' ') })
    }
    if (edits.length === 0) return []
    edits.push({ start: 0, end: 0, text: `${SWITCHING}\n` })
    if (!proven) {
      // Beside an upstream a server may always stand; a port of its own never makes it anybody's default.
      const upstream = [...walk(directives)].find(({ directive }) => directive.name === 'upstream')?.directive
      if (upstream) {
        const answer = `\nserver { listen ${port}; access_log off; location / { default_type text/plain; return 200 "${token}\\n"; } }`
        edits.push({ start: upstream.end, end: upstream.end, text: answer })
        proven = true
      }
    }
    return [{ path: file.path, text: applyEdits(file.text, edits) }]
  })
  return { files: rendered, proof: { port, token } }
}

export function applyEdits(
  text: string,
  edits: readonly { readonly start: number; readonly end: number; readonly text: string }[],
): string {
  let out = ''
  let at = 0
  for (const edit of [...edits].sort((a, b) => a.start - b.start || a.end - b.end)) {
    out += text.slice(at, edit.start) + edit.text
    at = edit.end
  }
  return out + text.slice(at)
}
