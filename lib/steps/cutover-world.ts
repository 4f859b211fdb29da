/** What a move looks at besides the zone: its own files, the new place seen from outside, and the certificate that will be shown there. */

import { type BudgetVerdict, judgeBudget } from '../cutover/budget.ts'
import { type CaaFacts, type CaaVerdict, caaTree, evaluateCaa } from '../cutover/caa.ts'
import { hasArrived, type Move } from '../cutover/move.ts'
import { isServed, type Observation } from '../cutover/observe.ts'
import { type MoveStore, readMoves, readPem } from '../cutover/store.ts'
import { negativeTtlOf } from '../cutover/ttl.ts'
import type { Clock } from '../engine/clock.ts'
import type { Readers } from '../engine/world.ts'
import { hasCode, LandfallError } from '../errors.ts'
import type { MovingName } from '../estate/migration.ts'
import type { Acme } from '../providers/ports/acme.ts'
import type { Server } from '../providers/ports/cloud.ts'
import type { DnsRecord } from '../providers/ports/dns.ts'
import type { DnsAnswer } from '../providers/ports/outside.ts'
import type { Secret } from '../secret.ts'
import type { Deps } from './deps.ts'
import { targetOf } from './machine.ts'
import { readLogin } from './panel.ts'
import { findServer } from './server.ts'
import type { EstateWorld } from './world.ts'

export interface CutoverDeps
  extends Pick<Deps, 'estate' | 'dns' | 'outside' | 'machines' | 'programs' | 'panelOn' | 'takeOver' | 'clock'> {
  /** The names of this command, each with the server it goes to. */
  readonly names: readonly MovingName[]
  /** All names that move, this command's among them: a server shows one certificate for all of its own. */
  readonly allNames: readonly MovingName[]
  readonly store: MoveStore
  /** The certificate authority, with the estate's account; its key is made on first need. */
  readonly acme: () => Promise<Acme>
  readonly makeKey: (label: string) => Secret
  /** The account's address. */
  readonly email: string
  /** For waits of minutes: as long as resolvers remember. In a rehearsal the sandbox's time passes at once. */
  readonly waits: Clock
  /** Variables that an import could not bring along and nobody has filled in yet. */
  readonly unfilled: readonly Unfilled[]
}

export interface Unfilled {
  readonly app: string
  readonly file: string
  readonly names: readonly string[]
  /** The names that the app serves. */
  readonly hosts: readonly string[]
}

/** One address of the new place, asked for the name as `curl --resolve` does. */
export interface Probe {
  readonly family: 'ipv4' | 'ipv6'
  readonly address: string
  readonly http: Reply
  readonly https: Reply
}

export type Reply = { readonly state: 'answers'; readonly status: number } | { readonly state: 'silent'; readonly why: string }

export interface Arrival {
  readonly probes: readonly Probe[]
  /** As aliases are now, and as it will be when the name has addresses of its own. */
  readonly caa: { readonly now: CaaVerdict; readonly after: CaaVerdict }
  /** The zone's name servers as the parent names them. */
  readonly delegation: readonly string[]
  readonly negativeTtlS: number
  /** Where the name leads now, aliases followed. */
  readonly oldAddresses: readonly string[]
}

export interface CertificateFacts {
  readonly stored: 'good' | 'unfinished' | 'ending' | 'absent'
  readonly notAfterMs?: number
  readonly budget: BudgetVerdict
  /** Whether the server's Traefik holds the stored one. `no_panel`: the server runs no Dokploy, and shows what it was given otherwise. */
  readonly given: 'yes' | 'no' | 'no_panel' | 'unreachable'
}

/** A certificate that ends sooner is renewed. */
const RENEW_BEFORE_MS = 30 * 86_400_000
const PROBE_TIMEOUT_MS = 8_000
const DEFAULT_NEGATIVE_TTL_S = 1_800
/** What Let's Encrypt calls itself, for a directory that does not say. */
const DEFAULT_IDENTITY = 'letsencrypt.org'

type CutoverSlices = Pick<EstateWorld, 'moves' | 'arrivals' | 'certificates'>

export function cutoverReaders(deps: CutoverDeps): Pick<Readers<EstateWorld>, keyof CutoverSlices> {
  const byName = async <T>(read: (name: MovingName) => Promise<readonly (readonly [string, T])[]>) =>
    Object.fromEntries((await Promise.all(deps.names.map(read))).flat())
  return {
    moves: () =>
      readMoves(
        deps.store,
        deps.names.map(({ name }) => name),
      ),
    arrivals: async get => {
      const [servers, moves, records] = [await get('servers'), await get('moves'), await get('records')]
      const identities = await identitiesOf(deps, moves, servers)
      return byName(async moving => {
        const move = moves[moving.name]
        const server = findServer(deps.estate.name, moving.server, servers)
        // Once it is switched, the name itself is looked at.
        if (!server || hasArrived(move, server)) return []
        return [[moving.name, await readArrival(deps, moving, server, records, identities)]]
      })
    },
    certificates: async get => {
      const servers = await get('servers')
      const wanted = [...new Set(deps.names.map(({ server }) => server))]
      const entries = wanted.map(async name => [name, await readCertificate(deps, name, servers)] as const)
      return Object.fromEntries(await Promise.all(entries))
    },
  }
}

async function identitiesOf(
  deps: CutoverDeps,
  moves: Readonly<Record<string, Move>>,
  servers: readonly Server[],
): Promise<readonly string[]> {
  if (deps.names.every(({ name, server }) => hasArrived(moves[name], findServer(deps.estate.name, server, servers)))) return []
  const identities = await (await deps.acme()).readIdentities()
  return identities.length > 0 ? identities : [DEFAULT_IDENTITY]
}

async function readArrival(
  deps: CutoverDeps,
  moving: MovingName,
  server: Server,
  records: readonly DnsRecord[],
  identities: readonly string[],
): Promise<Arrival> {
  const { outside, estate } = deps
  const zone = estate.dns?.zone ?? ''
  const addresses = [
    ...(server.ipv4 ? [{ family: 'ipv4', address: server.ipv4 } as const] : []),
    ...(server.ipv6 ? [{ family: 'ipv6', address: server.ipv6 } as const] : []),
  ]
  const [probes, caa, nameservers, soa, oldAddresses] = await Promise.all([
    Promise.all(addresses.map(each => probe(deps, moving, each))),
    readCaa(deps, moving.name, records, identities),
    outside.findNameservers(zone),
    outside.askAuthoritative(zone, zone, 'SOA'),
    readOldAddresses(deps, moving.name, records),
  ])
  const negative = soa.flatMap(answer => negativeTtlOf(answer) ?? [])
  return {
    probes,
    caa,
    delegation: nameservers.map(each => each.name),
    negativeTtlS: negative.length > 0 ? Math.max(...negative) : DEFAULT_NEGATIVE_TTL_S,
    oldAddresses,
  }
}

/** Asks the new place for the name over both schemes. */
export async function probe(
  { outside }: Pick<CutoverDeps, 'outside'>,
  { name, path }: Pick<MovingName, 'name' | 'path'>,
  { family, address }: Pick<Probe, 'family' | 'address'>,
): Promise<Probe> {
  const ask = async (scheme: 'http' | 'https'): Promise<Reply> => {
    try {
      const page = await outside.fetchPage(`${scheme}://${name}${path}`, { address, timeoutMs: PROBE_TIMEOUT_MS })
      return { state: 'answers', status: page.status }
    } catch (error) {
      if (hasCode(error, 'network', 'timeout')) return { state: 'silent', why: error.message.replace(/\.$/, '') }
      throw error
    }
  }
  const [http, https] = await Promise.all([ask('http'), ask('https')])
  return { family, address, http, https }
}

export const isReplyServed = (reply: Reply): boolean => reply.state === 'answers' && isServed(reply.status)

/** Asks every authoritative server for CAA up the tree; what lies outside the zone, of its own servers or of resolvers. */
async function readCaa(
  deps: CutoverDeps,
  name: string,
  records: readonly DnsRecord[],
  identities: readonly string[],
): Promise<Arrival['caa']> {
  const zone = deps.estate.dns?.zone ?? ''
  const inZone = (each: string) => each === zone || each.endsWith(`.${zone}`)
  const ask = async (each: string): Promise<readonly DnsAnswer[]> => {
    if (inZone(each)) return deps.outside.askAuthoritative(zone, each, 'CAA')
    for (const suffix of caaTree(each).filter(part => part.includes('.'))) {
      const servers = await deps.outside.findNameservers(suffix)
      if (servers.some(server => server.addresses.length > 0)) return deps.outside.askAuthoritative(suffix, each, 'CAA')
    }
    const answers = await deps.outside.askResolvers(each, 'CAA')
    const heard = answers.filter(answer => answer.status !== 'silent')
    return heard.length > 0 ? heard : answers
  }
  const alias = records.find(record => record.name === name && record.type === 'CNAME' && !record.proxied)?.content
  const names = [...caaTree(name).filter(each => each.includes('.')), ...(alias === undefined ? [] : [alias])]
  const asked = await Promise.all(names.map(async each => [each, { answers: await ask(each) }] as const))
  const after = new Map<string, CaaFacts>(asked)
  const now = new Map(after)
  const own = after.get(name)
  if (alias !== undefined && own !== undefined) now.set(name, { ...own, alias })
  const account = await accountUrl(deps)
  const request = { name, identities, ...(account === undefined ? {} : { accountUri: account }) }
  return {
    now: evaluateCaa({ ...request, method: 'dns-01' }, now),
    after: evaluateCaa({ ...request, method: 'dns-01' }, after),
  }
}

/** Only an account that exists already can be named in a CAA record. */
async function accountUrl(deps: CutoverDeps): Promise<string | undefined> {
  const acme = await deps.acme()
  if ((await deps.store.findAccountKey(acme.directory)) === undefined) return undefined
  return (await acme.openAccount(deps.email)).url
}

/** Never asked for a name without records: resolvers would remember that it is not there. */
async function readOldAddresses(deps: CutoverDeps, name: string, records: readonly DnsRecord[]): Promise<readonly string[]> {
  if (!records.some(record => record.name === name && ['A', 'AAAA', 'CNAME'].includes(record.type))) return []
  const answers = await Promise.all((['A', 'AAAA'] as const).map(type => deps.outside.askResolvers(name, type)))
  return [...new Set(answers.flat().flatMap(answer => answer.values))].sort()
}

async function readCertificate(deps: CutoverDeps, serverName: string, servers: readonly Server[]): Promise<CertificateFacts> {
  const { store, estate, clock } = deps
  const names = namesFor(deps, serverName)
  const acme = await deps.acme()
  const nowMs = clock.nowMs()
  const [kept, orders] = await Promise.all([store.readCertificate(serverName), store.readOrders()])
  const budget = judgeBudget(orders, { directory: acme.directory, names, domain: estate.dns?.zone ?? '' }, nowMs)
  const pem = kept?.certificate === undefined ? undefined : readPem(kept.certificate)
  const isOurs = kept !== undefined && kept.directory === acme.directory
  const covers = isOurs && pem !== undefined && names.every(name => pem.covers(name))
  const stored = covers
    ? pem.notAfterMs - nowMs > RENEW_BEFORE_MS
      ? 'good'
      : 'ending'
    : isOurs && kept.certificate === undefined && kept.names.join() === names.join()
      ? 'unfinished'
      : 'absent'
  const given =
    stored === 'good' || stored === 'ending' ? await readGiven(deps, serverName, servers, kept?.certificate ?? '') : 'no'
  return { stored, budget, given, ...(pem && covers ? { notAfterMs: pem.notAfterMs } : {}) }
}

/** All names of the estate that go to one server share one certificate. Sorted. */
export const namesFor = ({ allNames }: Pick<CutoverDeps, 'allNames'>, server: string): string[] =>
  allNames.flatMap(each => (each.server === server ? [each.name] : [])).sort()

async function readGiven(
  deps: CutoverDeps,
  serverName: string,
  servers: readonly Server[],
  certificate: string,
): Promise<CertificateFacts['given']> {
  const panel = await openPanel(deps, serverName, servers)
  if (panel === 'no_panel' || panel === 'unreachable') return panel
  const given = await panel.dokploy.listCertificates(panel.apiKey)
  return given.some(each => each.certificate.trim() === certificate.trim()) ? 'yes' : 'no'
}

/** The server's panel with its key. */
export async function openPanel(deps: CutoverDeps, serverName: string, servers: readonly Server[]) {
  const { estate } = deps
  if (estate.servers.find(each => each.name === serverName)?.dokploy === undefined) return 'no_panel'
  const server = findServer(estate.name, serverName, servers)
  const target = server && targetOf(estate.name, server)
  if (!target) return 'unreachable'
  const login = await readLogin(deps, target)
  if (login?.apiKey === undefined) return 'unreachable'
  return { dokploy: await deps.panelOn(target), apiKey: login.apiKey }
}

/** What everybody sees of a name now. */
export async function observe(
  deps: Pick<CutoverDeps, 'outside'>,
  move: Pick<Move, 'name' | 'zone' | 'path'>,
): Promise<Observation> {
  const { outside } = deps
  const { name, zone, path } = move
  const families = ['A', 'AAAA'] as const
  const [authoritative, resolvers] = await Promise.all([
    Promise.all(families.map(type => outside.askAuthoritative(zone, name, type))),
    Promise.all(families.map(type => outside.askResolvers(name, type))),
  ])
  const address = resolvers[0]?.flatMap(answer => answer.values)[0]
  const fetched = async (): Promise<Observation['page']> => {
    if (address === undefined) return { state: 'silent', why: 'no resolver gives an address' }
    try {
      const { status, headers, body } = await outside.fetchPage(`https://${name}${path}`, { address })
      return { state: 'answers', status, headers, body }
    } catch (error) {
      if (error instanceof LandfallError && hasCode(error, 'network', 'timeout'))
        return { state: 'silent', why: error.message.replace(/\.$/, '') }
      throw error
    }
  }
  const [tls, page] = await Promise.all([
    address === undefined
      ? { state: 'none' as const, why: 'no resolver gives an address', names: [] }
      : outside.readTls(name, address),
    fetched(),
  ])
  return {
    authoritative: { A: authoritative[0] ?? [], AAAA: authoritative[1] ?? [] },
    resolvers: { A: resolvers[0] ?? [], AAAA: resolvers[1] ?? [] },
    tls,
    page,
  }
}
