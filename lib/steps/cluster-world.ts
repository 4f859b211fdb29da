/** What is observed of a cluster: each of its machines over SSH, then Consul and Nomad through a tunnel to the first that answers. */

import { createHash } from 'node:crypto'
import { variablesPath, variablesPlaces } from '../cluster/job.ts'
import { MONITORING_JOBS } from '../cluster/monitoring.ts'
import { isGoodCertificate } from '../cluster/pki.ts'
import type { Part } from '../cluster/render.ts'
import { type ClusterSecrets, parseSecrets } from '../cluster/secrets.ts'
import { readPem } from '../cutover/store.ts'
import type { Clock } from '../engine/clock.ts'
import { hasCode, LandfallError } from '../errors.ts'
import { contains, parseCidr } from '../estate/address.ts'
import type { ClusterSpec } from '../estate/cluster.ts'
import type { Server } from '../providers/ports/cloud.ts'
import type { Consul, Deployment, FormedQuorum, Job, Nomad, NomadNode } from '../providers/ports/cluster.ts'
import type { Target } from '../providers/ports/machine.ts'
import type { RegistryLogin } from '../providers/ports/registry.ts'
import { Secret } from '../secret.ts'
import type { Deps } from './deps.ts'
import { isLasting } from './dns-certificate.ts'
import { type MachineState, parseFactLines, targetOf } from './machine.ts'
import { findServer } from './server.ts'
import type { EstateWorld } from './world.ts'

interface PartState {
  /** As the program says it; undefined when it is not there. */
  readonly version?: string
  readonly running: boolean
  /** SHA-256 of its configuration and unit; `none`; `untaken`: it may run with others. */
  readonly files: string
  readonly certificate: 'good' | 'bad'
  /** SHA-256 of its certificate; empty without one. */
  readonly certificateHash: string
}

/** Where Nomad keeps what the cluster's Caddys serve. */
export const SHARED_CERTIFICATE_PATH = 'landfall/certificate'

export interface SharedCertificate {
  /** With its chain. */
  readonly certificate: string
  readonly privateKey: Secret
  readonly names: readonly string[]
  readonly notAfterMs: number
  /** Good for a month more. */
  readonly lasting: boolean
  /** For the next write. */
  readonly index: number
}

export const certificateHashOf = (pem: string): string => (pem === '' ? '' : createHash('sha256').update(pem).digest('hex'))

export type NodeState =
  | { readonly state: 'closed'; readonly why: string }
  | {
      readonly state: 'open'
      readonly privateIp: string
      readonly interface: string
      /** Visitors are asked to go elsewhere. */
      readonly leaving: boolean
      /** Only servers keep them. */
      readonly secrets?: ClusterSecrets
      readonly parts: Readonly<Record<Part, PartState>>
    }

export type ConsulState =
  | { readonly state: 'away'; readonly why: string }
  | {
      readonly state: 'up'
      readonly leader: boolean
      /** Known once the leader knows our token. */
      readonly quorum?: FormedQuorum
      readonly members: readonly { readonly name: string; readonly state: string }[]
      readonly policies: Awaited<ReturnType<Consul['listPolicies']>>
      readonly tokens: Awaited<ReturnType<Consul['listTokens']>>
    }

export interface JobState {
  readonly job: Job
  readonly deployment?: Deployment
}

export type NomadState =
  | { readonly state: 'away'; readonly why: string }
  | {
      readonly state: 'up'
      readonly leader: boolean
      readonly token: 'known' | 'unknown'
      readonly quorum?: FormedQuorum
      readonly nodes: readonly NomadNode[]
      /** Of wanted apps, and all others that carry our mark, by id. */
      readonly jobs: Readonly<Record<string, JobState>>
      readonly certificate?: SharedCertificate
      /** By where they are kept. */
      readonly variables: Readonly<Record<string, { readonly items: ReadonlyMap<string, Secret>; readonly index: number }>>
    }

export interface ClusterDeps extends Pick<Deps, 'estate' | 'cloud' | 'machines' | 'programs' | 'clock' | 'runId'> {
  readonly cluster: ClusterSpec
  /** The API on a machine, through a tunnel that stays open until the process ends. */
  readonly consulOn: (target: Target, token?: Secret) => Promise<Consul>
  readonly nomadOn: (target: Target, token?: Secret) => Promise<Nomad>
  /** Who pulls images on the machines; absent where config.json names no registry. @throws LandfallError config without its password */
  readonly registryLogin?: () => RegistryLogin
}

/** Why a cluster needs machines that are more than a protocol. */
export const PRETENDED = {
  why: 'Consul and Nomad are not simulated, so a cluster cannot be rehearsed on pretended machines.',
  hint: 'Rehearse the servers alone: bun scripts/provision.ts apply; the tests run the whole on container machines.',
} as const

const isSimulated = (text: string): boolean => text.includes('not simulated')

type NodeDeps = Pick<ClusterDeps, 'estate' | 'machines' | 'programs' | 'clock'>

/** One look at each machine of the cluster. A worker keeps no authority: its certificates are judged by what a server keeps. */
export async function readNodes(
  deps: NodeDeps & Pick<ClusterDeps, 'cluster'>,
  servers: readonly Server[],
  machines: Readonly<Record<string, MachineState>>,
): Promise<Nodes> {
  const read = async (names: readonly string[], authority?: Promise<ClusterSecrets | undefined>): Promise<Nodes> => {
    const entries = names.flatMap(name => {
      const server = findServer(deps.estate.name, name, servers)
      return server ? [readNode(deps, server, machines[name], authority).then(node => [name, node] as const)] : []
    })
    return Object.fromEntries(await Promise.all(entries))
  }
  const voters = read(deps.cluster.servers)
  const [all, workers] = await Promise.all([voters, read(deps.cluster.workers, voters.then(secretsOf))])
  return { ...all, ...workers }
}

/** @param authority who is to have signed its certificates; absent for a server, which keeps it itself. Its network is the estate's. */
async function readNode(
  deps: NodeDeps,
  server: Server,
  machine: MachineState | undefined,
  authority: Promise<ClusterSecrets | undefined> | undefined,
): Promise<NodeState> {
  const target = targetOf(deps.estate.name, server)
  if (machine?.state !== 'ready' || !target)
    return { state: 'closed', why: machine && 'why' in machine ? machine.why : 'it cannot be reached over SSH' }
  if (machine.trust !== 'pinned') return { state: 'closed', why: 'its host key is not pinned yet' }
  const [facts, kept] = await Promise.all([
    deps.machines.run(target, deps.programs['cluster-facts']),
    authority ? undefined : deps.machines.run(target, deps.programs['read-cluster-secrets']),
  ])
  if (facts.exitCode !== 0 && isSimulated(facts.stderr))
    throw new LandfallError('refused', PRETENDED.why, { hint: PRETENDED.hint })
  const values = parseFactLines(facts.stdout)
  const range = parseCidr(deps.estate.network?.range ?? '')
  const [address, device] =
    (values.addresses ?? '')
      .split(',')
      .map(entry => entry.split('@'))
      .find(([ip = '']) => {
        const inner = parseCidr(ip)
        return range !== undefined && inner !== undefined && contains(range, inner)
      }) ?? []
  if (!address || !device)
    return { state: 'closed', why: `it has no address in ${deps.estate.network?.range ?? 'the network'} yet` }
  const secrets = kept?.exitCode === 0 ? parseSecrets(decode(kept.stdout), server.name) : undefined
  const judge = secrets ?? (await authority)
  const part = (name: Part): PartState => {
    const version = values[`${name}_version`]
    const pem = Buffer.from(values[`${name}_certificate`] ?? '', 'base64').toString('utf8')
    return {
      ...(version === undefined || version === 'none' ? {} : { version }),
      // Consul counts as started only when it has joined; a Caddy that is still starting is one that fails again and again.
      running: values[`${name}_state`] === 'active' || (name !== 'caddy' && values[`${name}_state`] === 'activating'),
      files: values[`${name}_files`] ?? 'none',
      certificate: certificateOf(pem, judge, address, deps.clock),
      certificateHash: certificateHashOf(pem),
    }
  }
  return {
    state: 'open',
    privateIp: address,
    interface: device,
    leaving: values.leaving === 'yes',
    ...(secrets ? { secrets } : {}),
    parts: { consul: part('consul'), nomad: part('nomad'), caddy: part('caddy') },
  }
}

const decode = (line: string): string => Buffer.from(line.trim().replace(/^SECRETS /, ''), 'base64').toString('utf8')

/** Where no authority is known, one that is there is taken for good. */
const certificateOf = (
  pem: string,
  secrets: ClusterSecrets | undefined,
  ip: string,
  clock: Pick<Clock, 'nowMs'>,
): 'good' | 'bad' =>
  secrets === undefined
    ? pem === ''
      ? 'bad'
      : 'good'
    : isGoodCertificate(pem, secrets.caCertificate, ip, clock.nowMs())
      ? 'good'
      : 'bad'

type Nodes = Readonly<Record<string, NodeState>>

/** The set that the cluster's servers keep; undefined while none has any. */
export const secretsOf = (nodes: Nodes): ClusterSecrets | undefined =>
  Object.values(nodes).flatMap(node => (node.state === 'open' && node.secrets ? [node.secrets] : []))[0]

/** Servers where a part runs, as it is to be asked there. */
const hostsOf = (deps: Pick<ClusterDeps, 'estate' | 'cluster'>, servers: readonly Server[], nodes: Nodes, part: Part): Target[] =>
  deps.cluster.servers.flatMap(name => {
    const node = nodes[name]
    const server = findServer(deps.estate.name, name, servers)
    const target = server && targetOf(deps.estate.name, server)
    return node?.state === 'open' && node.parts[part].running && target ? [target] : []
  })

type Answer = { readonly state: 'away'; readonly why: string } | { readonly state: 'up'; readonly leader: boolean }

/** The answer of the first host that knows a leader; one that is cut off from the others knows none, and speaks only where nobody does. */
async function askFirst<T extends Answer>(
  hosts: readonly Target[],
  ask: (host: Target) => Promise<T>,
  away: (why: string) => T,
): Promise<T> {
  let why = 'it runs nowhere yet'
  let leaderless: T | undefined
  for (const host of hosts) {
    try {
      const answer = await ask(host)
      if (answer.state === 'up' && answer.leader) return answer
      leaderless ??= answer
    } catch (error) {
      if (!hasCode(error, 'network', 'timeout', 'vendor', 'rate_limited')) throw error
      why = error.message
    }
  }
  return leaderless ?? away(why)
}

const ELECTION_POLL_MS = 500
const ELECTION_LOOKS = 10

/**
 * Reads with a token that was known a moment ago. A Nomad server that has just become the leader answers 403 until it has applied its log
 * again, its tokens too; only a refusal that lasts is one.
 */
async function readPastElection<T>(clock: Pick<Clock, 'sleep'>, read: () => Promise<T>): Promise<T> {
  for (let look = 1; ; look++) {
    try {
      return await read()
    } catch (error) {
      if (!hasCode(error, 'forbidden') || look === ELECTION_LOOKS) throw error
      await clock.sleep(ELECTION_POLL_MS)
    }
  }
}

function sharedFrom(
  { items, index }: { readonly items: ReadonlyMap<string, Secret>; readonly index: number },
  nowMs: number,
): SharedCertificate {
  const certificate = items.get('certificate')?.reveal() ?? ''
  const facts = readPem(certificate)
  return {
    certificate,
    privateKey: new Secret('key of the cluster’s certificate', items.get('key')?.reveal() ?? ''),
    names: facts?.names ?? [],
    notAfterMs: facts?.notAfterMs ?? 0,
    lasting: isLasting(facts?.notAfterMs ?? 0, nowMs),
    index,
  }
}

export function readConsul(deps: ClusterDeps, servers: readonly Server[], nodes: Nodes): Promise<ConsulState> {
  const secrets = secretsOf(nodes)
  return askFirst<ConsulState>(
    hostsOf(deps, servers, nodes, 'consul'),
    async host => {
      const consul = await deps.consulOn(host, secrets?.consulManagement)
      if (!(await consul.hasLeader())) return { state: 'up', leader: false, members: [], policies: [], tokens: [] }
      const [quorum, members, policies, tokens] = await Promise.all([
        consul.quorum(),
        consul.listMembers(),
        consul.listPolicies(),
        consul.listTokens(),
      ])
      return {
        state: 'up',
        leader: true,
        ...(quorum.state === 'formed' ? { quorum } : {}),
        members,
        policies,
        tokens,
      }
    },
    why => ({ state: 'away', why }),
  )
}

export function readNomad(deps: ClusterDeps, servers: readonly Server[], nodes: Nodes, mark: string): Promise<NomadState> {
  const secrets = secretsOf(nodes)
  return askFirst<NomadState>(
    hostsOf(deps, servers, nodes, 'nomad'),
    async host => {
      const nomad = await deps.nomadOn(host, secrets?.nomadManagement)
      const nothing = { nodes: [], jobs: {}, variables: {} }
      if (!(await nomad.hasLeader())) return { state: 'up', leader: false, token: 'unknown', ...nothing }
      if (!secrets || !(await nomad.knowsToken())) return { state: 'up', leader: true, token: 'unknown', ...nothing }
      return readPastElection(deps.clock, () => readKnown(deps, nomad, mark))
    },
    why => ({ state: 'away', why }),
  )
}

async function readKnown(deps: ClusterDeps, nomad: Nomad, mark: string): Promise<NomadState> {
  const [quorum, nodes, listed] = await Promise.all([nomad.quorum(), nomad.listNodes(), nomad.listJobs()])
  const names = [...new Set([...deps.cluster.apps.map(app => app.name), ...listed.map(job => job.id)])]
  const jobs = await Promise.all(
    names.map(async name => {
      const job = await nomad.findJob(name)
      const wanted = deps.cluster.apps.some(app => app.name === name)
      if (!job || (!wanted && job.meta[mark] !== deps.estate.name)) return []
      const deployment = await nomad.findDeployment(name)
      return [[name, { job, ...(deployment ? { deployment } : {}) }] as const]
    }),
  )
  const variables = await Promise.all(
    [...deps.cluster.apps.flatMap(app => variablesPlaces(app.name)), ...(deps.cluster.monitoring ? MONITORING_JOBS : [])].map(
      async place => {
        const found = await nomad.findVariables(variablesPath(place))
        return found ? [[place, found] as const] : []
      },
    ),
  )
  const shared = deps.cluster.certificateNames.length === 0 ? undefined : await nomad.findVariables(SHARED_CERTIFICATE_PATH)
  return {
    state: 'up',
    leader: true,
    token: 'known',
    ...(shared ? { certificate: sharedFrom(shared, deps.clock.nowMs()) } : {}),
    ...(quorum.state === 'formed' ? { quorum } : {}),
    nodes,
    jobs: Object.fromEntries(jobs.flat()),
    variables: Object.fromEntries(variables.flat()),
  }
}

/** A server of the cluster whose part answers, one that votes if there is any, for a change that may go to any. @throws LandfallError unhealthy */
export function hostOf(
  deps: ClusterDeps,
  world: { get<K extends keyof EstateWorld>(slice: K): EstateWorld[K] },
  part: 'consul' | 'nomad',
): Target {
  const state = world.get(part)
  const voters = state.state === 'up' ? (state.quorum?.voters ?? []) : []
  const hosts = hostsOf(deps, world.get('servers'), world.get('clusterNodes'), part)
  const host = hosts.find(({ name }) => voters.includes(name)) ?? hosts[0]
  if (host) return host
  throw new LandfallError('unhealthy', `No server of the cluster runs ${part}.`, { hint: 'bun scripts/cluster.ts status' })
}
