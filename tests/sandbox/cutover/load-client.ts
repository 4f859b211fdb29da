/**
 * Visitors, as a process of their own: caching resolvers of different habits that ask the zone's own name servers, and requests over TLS
 * to whoever has the address that they give. Reads its orders from the first argument; prints a JSON line of counts four times a second,
 * and the last at the end.
 */

import { Agent, request } from 'node:https'
import { type DnsReply, query } from '../../../lib/providers/outside/dns-client.ts'
import { NOTHING } from './load-counts.ts'

export interface Orders {
  /** Where the world's time is read. */
  readonly timeUrl: string
  readonly authorityPort: number
  readonly resolverPort: number
  /** Loopback port at which each address of the world is served over TLS. */
  readonly sites: Readonly<Record<string, number>>
  readonly caPem: string
  readonly names: readonly string[]
  readonly path: string
  readonly ratePerS: number
  readonly clients: number
}

const orders: Orders = JSON.parse(process.argv[2] ?? '{}')
const stop = new AbortController()
const startedMs = performance.now()
const counts = { ...NOTHING, samples: [] as string[] }

/** The world's time; resolvers forget by it. */
let aheadMs = 0
const followTime = async () => {
  while (!stop.signal.aborted) {
    const answer = await fetch(orders.timeUrl)
    aheadMs = ((await answer.json()) as { aheadMs: number }).aheadMs
    await Bun.sleep(20)
  }
}
const nowMs = () => Date.now() + aheadMs

const ask = (port: number, name: string, type: 'A' | 'AAAA'): Promise<DnsReply> => {
  counts.lookups += 1
  return query({ server: { host: '127.0.0.1', port }, name, type, transport: 'auto', recursion: true, timeoutMs: 4_000 })
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
const CAPS_S = [1, 10, 60, 300, 86_400]
/** Every second one keeps its connections, as browsers do. */
const clients = Array.from({ length: orders.clients }, (_, i) => ({
  resolve: createResolver(CAPS_S[i % CAPS_S.length] ?? 60),
  agent: i % 2 === 0 ? new Agent({ keepAlive: true, maxSockets: 8 }) : (false as const),
}))
type Client = (typeof clients)[number]

interface Fetched {
  readonly status: number
  readonly old: boolean
}

const fetchAt = (client: Client, name: string, port: number, mayRepeat = true): Promise<Fetched> =>
  new Promise((resolve, reject) => {
    const asking = request(
      {
        host: '127.0.0.1',
        port,
        servername: name,
        path: orders.path,
        headers: { host: name },
        ca: orders.caPem,
        agent: client.agent,
        timeout: 60_000,
      },
      answer => {
        counts.reused += asking.reusedSocket ? 1 : 0
        answer.on('error', reject)
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, old: answer.headers['x-old-id'] !== undefined }))
        answer.resume()
      },
    )
    asking.on('timeout', () => asking.destroy(new Error('no answer within a minute')))
    asking.on('error', error => {
      if (!asking.reusedSocket || !mayRepeat) return reject(error)
      counts.again += 1
      fetchAt(client, name, port, false).then(resolve, reject)
    })
    asking.end()
  })

const fail = (what: 'failed' | 'tlsErrors' | 'nxdomain', why: string) => {
  counts[what] += 1
  if (counts.samples.length < 20) counts.samples.push(why)
}

let turn = 0
const visit = async () => {
  turn += 1
  const name = orders.names[turn % orders.names.length] ?? ''
  const client = clients[Math.floor(turn / orders.names.length) % clients.length]
  if (!client) throw new Error('no clients')
  const type = turn % 7 === 0 ? 'AAAA' : 'A'
  counts.sent += 1
  let addresses = await client.resolve(name, type)
  // A client without an IPv6 answer uses IPv4, as all do; one without that has no site.
  if (addresses === 'nxdomain' && type === 'AAAA') addresses = await client.resolve(name, 'A')
  const address = addresses === 'nxdomain' ? undefined : addresses[turn % addresses.length]
  if (address === undefined) return fail('nxdomain', `${name} ${type}: no answer`)
  try {
    const { status, old } = await fetchAt(client, name, orders.sites[address] ?? 1)
    if (status !== 200) return fail('failed', `${name} at ${address}: ${status}`)
    counts.ok += 1
    counts[old ? 'atOld' : 'atNew'] += 1
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : ''
    const why = `${name} at ${address}: ${error instanceof Error ? error.message : String(error)} ${code}`
    fail(/TLS|CERT|SSL|UNABLE_TO_VERIFY|SELF_SIGNED/.test(code) ? 'tlsErrors' : 'failed', why)
  }
}

const say = () => process.stdout.write(`${JSON.stringify({ ...counts, elapsedMs: Math.round(performance.now() - startedMs) })}\n`)
const following = followTime()
const flying = new Set<Promise<void>>()
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
process.exit(0)
