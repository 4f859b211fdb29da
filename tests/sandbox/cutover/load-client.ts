/**
 * Visitors, as a process of their own: caching resolvers of different habits that ask the zone's own name servers, and requests over TLS
 * to whatever address they give. Reads its orders from the first argument; prints one JSON line of counts per second, and the last at the end.
 */

import { createMeter } from '../../../lib/engine/meter.ts'
import { type DnsReply, query } from '../../../lib/providers/outside/dns-client.ts'
import { createOutside } from '../../../lib/providers/outside/outside.ts'

export interface Orders {
  readonly internet: { readonly host: string; readonly port: number }
  readonly authorityPort: number
  readonly resolverPort: number
  readonly caPem: string
  readonly names: readonly string[]
  readonly path: string
  readonly ratePerS: number
  readonly clients: number
}

export interface Counts {
  readonly sent: number
  readonly ok: number
  readonly atOld: number
  readonly atNew: number
  readonly failed: number
  readonly tlsErrors: number
  readonly nxdomain: number
  readonly lookups: number
  readonly samples: readonly string[]
}

const orders: Orders = JSON.parse(process.argv[2] ?? '{}')
const stop = new AbortController()
const counts = { sent: 0, ok: 0, atOld: 0, atNew: 0, failed: 0, tlsErrors: 0, nxdomain: 0, lookups: 0, samples: [] as string[] }
const outside = createOutside({
  route: { kind: 'proxy', ...orders.internet },
  caPem: orders.caPem,
  context: { meter: createMeter(), signal: new AbortController().signal },
})

/** The world's time; resolvers forget by it. */
let aheadMs = 0
const followTime = async () => {
  while (!stop.signal.aborted) {
    const answer = await fetch(`http://${orders.internet.host}:${orders.internet.port}/_sandbox/time`)
    aheadMs = ((await answer.json()) as { aheadMs: number }).aheadMs
    await Bun.sleep(10)
  }
}
const nowMs = () => Date.now() + aheadMs

const ask = async (port: number, name: string, type: 'A' | 'AAAA'): Promise<DnsReply> => {
  counts.lookups += 1
  const reply = await query({
    server: { host: '127.0.0.1', port },
    name,
    type,
    transport: 'auto',
    recursion: true,
    timeoutMs: 4_000,
  })
  return reply
}

/** Keeps answers for their TTL, or for less: some cap it at seconds, as browsers do. */
const createResolver = (capS: number) => {
  const cache = new Map<string, { readonly values: readonly string[]; readonly untilMs: number }>()
  return async (name: string, type: 'A' | 'AAAA'): Promise<readonly string[] | 'nxdomain'> => {
    const key = `${name} ${type}`
    const known = cache.get(key)
    if (known && known.untilMs > nowMs()) return known.values
    const askedAtMs = nowMs()
    const reply = await ask(orders.authorityPort, name, type)
    if (reply.status !== 'ok') return 'nxdomain'
    let entries = reply.answers
    const alias = entries.find(entry => entry.type === 'CNAME')
    if (alias && !entries.some(entry => entry.type === type))
      entries = [alias, ...(await ask(orders.resolverPort, alias.value, type)).answers]
    const values = entries.filter(entry => entry.type === type).map(entry => entry.value)
    if (values.length === 0) return 'nxdomain'
    const ttlS = Math.min(capS, ...entries.map(entry => entry.ttl))
    cache.set(key, { values, untilMs: askedAtMs + ttlS * 1000 })
    return values
  }
}

/** On a machine that is too busy for the rate, visitors queue up instead of drowning it. */
const MOST_AT_ONCE = 64
const CAPS = [1, 10, 60, 300, 86_400]
const resolvers = Array.from({ length: orders.clients }, (_, i) => createResolver(CAPS[i % CAPS.length] ?? 60))
let turn = 0

const fail = (what: 'failed' | 'tlsErrors' | 'nxdomain', why: string) => {
  counts[what] += 1
  if (counts.samples.length < 20) counts.samples.push(why)
}

const visit = async () => {
  turn += 1
  const name = orders.names[turn % orders.names.length] ?? ''
  const resolve = resolvers[Math.floor(turn / orders.names.length) % resolvers.length] ?? createResolver(60)
  const type = turn % 7 === 0 ? 'AAAA' : 'A'
  counts.sent += 1
  let addresses = await resolve(name, type)
  // A client without an IPv6 answer uses IPv4, as all do; one without that has no site.
  if (addresses === 'nxdomain' && type === 'AAAA') addresses = await resolve(name, 'A')
  const address = addresses === 'nxdomain' ? undefined : addresses[turn % addresses.length]
  if (address === undefined) return fail('nxdomain', `${name} ${type}: no answer`)
  try {
    const page = await outside.fetchPage(`https://${name}${orders.path}`, { address, timeoutMs: 60_000 })
    if (page.status !== 200) return fail('failed', `${name} at ${address}: ${page.status}`)
    counts.ok += 1
    counts[page.headers['x-old-id'] === undefined ? 'atNew' : 'atOld'] += 1
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    fail(/certificate|TLS/i.test(why) ? 'tlsErrors' : 'failed', why)
  }
}

const say = () => process.stdout.write(`${JSON.stringify(counts)}\n`)
const following = followTime()
const flying = new Set<Promise<void>>()
const startedMs = performance.now()
const pump = setInterval(() => {
  // As many as are due by now: a slow moment is made up for.
  const due = ((performance.now() - startedMs) / 1000) * orders.ratePerS - counts.sent
  for (let i = 0; i < due && flying.size < MOST_AT_ONCE; i++) {
    const flight: Promise<void> = visit().finally(() => flying.delete(flight))
    flying.add(flight)
  }
}, 5)
const ticker = setInterval(say, 250)
for await (const _ of process.stdin);
clearInterval(pump)
await Promise.all(flying)
clearInterval(ticker)
stop.abort()
await following
say()
