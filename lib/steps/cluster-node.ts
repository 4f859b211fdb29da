/** The machines of a cluster: their common secrets, then Consul, Nomad and Caddy on each, one machine after another. */

import { caddyFiles } from '../cluster/caddy.ts'
import { createAuthority, issue } from '../cluster/pki.ts'
import { consulFiles, type Files, hashOf, type Node, nomadFiles, type Part } from '../cluster/render.ts'
import { type ClusterSecrets, generateSecrets, renderSecrets } from '../cluster/secrets.ts'
import { blocked, done, refused, todo } from '../engine/step.ts'
import type { World, WorldView } from '../engine/world.ts'
import { LandfallError } from '../errors.ts'
import type { ProgramSpec } from '../estate/cluster.ts'
import { blindSecondsOf } from './balancer.ts'
import { targetOn } from './cluster-api.ts'
import { type ClusterDeps, certificateHashOf, type NodeState, type SharedCertificate, secretsOf } from './cluster-world.ts'
import type { EstateStep } from './deps.ts'
import { runProgram } from './machine.ts'
import type { EstateWorld } from './world.ts'

type Live = World<EstateWorld>
type OpenNode = Extract<NodeState, { state: 'open' }>

export const SECRETS_STEP = 'cluster secrets'
export const CERTIFICATE_STEP = 'cluster certificate'
export const partStepId = (part: Part, name: string): string => `${part} ${name}`
export const revivalStepId = (part: Part, name: string): string => `${part} up ${name}`

const POLL_MS = 500
const PRIVATE_ADDRESS_TIMEOUT_MS = 60_000
const READY_TIMEOUT_MS = 3 * 60_000

/** Asks until `ready` says yes; says what it waits for. @throws LandfallError timeout with `hint` */
export async function waitFor(
  deps: Pick<ClusterDeps, 'clock'>,
  what: string,
  ready: () => Promise<boolean>,
  { signal, timeoutMs = READY_TIMEOUT_MS, hint }: { signal: AbortSignal; timeoutMs?: number; hint: string },
): Promise<void> {
  const deadlineMs = deps.clock.monotonicMs() + timeoutMs
  for (;;) {
    const isReady = await ready().catch((error: unknown) => {
      // A member that is starting refuses, or has no leader to ask yet.
      if (error instanceof LandfallError && error.code !== 'cancelled') return false
      throw error
    })
    if (isReady) return
    if (deps.clock.monotonicMs() > deadlineMs)
      throw new LandfallError('timeout', `After ${timeoutMs / 1000} s ${what}.`, { hint })
    await deps.clock.sleep(POLL_MS, signal)
  }
}

export const openNode = (world: WorldView<EstateWorld>, name: string): OpenNode | undefined => {
  const node = world.get('clusterNodes')[name]
  return node?.state === 'open' ? node : undefined
}

const whyClosed = (world: WorldView<EstateWorld>, name: string): string => {
  const node = world.get('clusterNodes')[name]
  return node?.state === 'closed' ? `${name} (${node.why})` : name
}

/** Every server of the cluster keeps the same secrets. */
export function secretsStep(deps: ClusterDeps): EstateStep {
  const { cluster } = deps
  const all = [...cluster.servers, ...cluster.workers]
  return {
    id: SECRETS_STEP,
    noun: 'cluster',
    title: 'the servers of the cluster share their secrets',
    needs: all.map(name => `machine ${name}`),
    reads: ['servers', 'machines', 'clusterNodes'],
    look(world) {
      const make = { kind: 'create', summary: 'make the gossip keys, certificate authority and tokens of the cluster' } as const
      const closed = cluster.servers.filter(name => !openNode(world, name))
      const ready = all.filter(name => world.get('machines')[name]?.state === 'ready')
      // Machines that have become ready since they were looked at.
      if (ready.length === all.length && all.some(name => !openNode(world, name)))
        return todo({
          kind: 'wait',
          summary: 'look at what the machines have',
          async apply({ world: live, signal }) {
            const look = async () => {
              live.touch('clusterNodes')
              await live.look(['clusterNodes'])
              return all.every(name => openNode(live, name) !== undefined)
            }
            // The first failure is told as it is; afterwards only a private address may still be on its way.
            if (await look()) return
            await waitFor(deps, `${all.filter(name => !openNode(live, name)).join(', ')} had no private address`, look, {
              signal,
              timeoutMs: PRIVATE_ADDRESS_TIMEOUT_MS,
              hint: 'See the servers in the Hetzner console, then run the same command again.',
            })
          },
        })
      // A server that cannot be read may be the one that has them: others would split the cluster.
      if (closed.length > 0) return blocked(closed.map(name => whyClosed(world, name)).join(', '), make)
      const kept = cluster.servers.map(name => ({ name, secrets: openNode(world, name)?.secrets }))
      const ids = new Set(kept.flatMap(({ secrets }) => (secrets ? [secrets.id] : [])))
      if (ids.size > 1)
        return refused(
          `${kept.flatMap(({ name, secrets }) => (secrets ? [name] : [])).join(' and ')} keep the secrets of different clusters.`,
          'Replace the one that is wrong: bun scripts/cluster.ts replace NAME',
        )
      const lacking = kept.filter(({ secrets }) => !secrets).map(({ name }) => name)
      if (lacking.length === 0) return done(`on ${kept.length} ${kept.length === 1 ? 'server' : 'servers'}, for root only`)
      return todo({
        ...(ids.size === 0
          ? make
          : { kind: 'change' as const, summary: `give ${lacking.join(', ')} the secrets of the cluster` }),
        async apply({ world: live }) {
          const nowMs = deps.clock.nowMs()
          const secrets = secretsOf(live.get('clusterNodes')) ?? generateSecrets(await createAuthority(cluster.datacenter, nowMs))
          // One after another: after a kill the first that has them is the one to copy from.
          for (const name of lacking) {
            await runProgram(deps, targetOn(deps, live, name), 'write-cluster-secrets', { SECRETS: renderSecrets(secrets) })
            setNode(live, name, node => ({ ...node, secrets }))
          }
        },
      })
    },
  }
}

const setNode = (live: Live, name: string, change: (node: OpenNode) => OpenNode): void =>
  live.update('clusterNodes', all => {
    const node = all[name]
    return node?.state === 'open' ? { ...all, [name]: change(node) } : all
  })

const needsCertificate = (part: Part): boolean => part !== 'caddy'
/** Caddy finds the apps through its machine's Consul; jobs and their visitors outlive a restart of Nomad. */
const meetsVisitors = (part: Part): boolean => part !== 'nomad'

export type Keeps = 'everything' | 'certificates'

export interface PartWish {
  readonly part: Part
  readonly name: string
  readonly role: 'server' | 'worker'
  readonly needs: readonly string[]
  /** `certificates`: nothing else is a reason for a change. */
  readonly keeps: Keeps
  /** `down`: only a part that does not run is a reason for a change; `up`: that one is none. */
  readonly when: 'down' | 'up' | 'always'
  /** Resolves when the cluster can do without this machine for a moment. */
  readonly spare: (live: Live, signal: AbortSignal) => Promise<void>
  /** Resolves when the machine does its part again, and what was healthy before is so again. */
  readonly settle: (live: Live, signal: AbortSignal) => Promise<void>
}

const filesOf = (deps: ClusterDeps, part: Part, node: Node, secrets: ClusterSecrets): Files =>
  part === 'consul'
    ? consulFiles(deps.cluster, node, secrets)
    : part === 'nomad'
      ? nomadFiles(deps.cluster, node, secrets, deps.registryLogin?.())
      : caddyFiles(deps.cluster, deps.estate.dns ? `admin@${deps.estate.dns.zone}` : undefined)

interface Difference {
  readonly what: 'program' | 'configuration' | 'certificate' | 'unfinished' | 'state'
  readonly says: string
}

/** What of a part differs from the wanted; empty when nothing does. Pure. */
function differences(
  part: Part,
  { parts: { [part]: have }, leaving }: Pick<OpenNode, 'parts' | 'leaving'>,
  files: Files,
  program: ProgramSpec,
  shared?: Pick<SharedCertificate, 'certificate'>,
): readonly Difference[] {
  const wanted = program.version
  const when = (is: boolean, what: Difference['what'], says: string): Difference[] => (is ? [{ what, says }] : [])
  return [
    ...when(have.version === undefined, 'program', `install ${part}${wanted ? ` ${wanted}` : ''}`),
    ...when(
      have.version !== undefined && wanted !== undefined && wanted !== have.version,
      'program',
      `${part} ${have.version} → ${wanted}`,
    ),
    ...when(have.files === 'none', 'configuration', 'configure it'),
    ...when(have.files === 'untaken', 'unfinished', 'finish its last change'),
    ...when(!['none', 'untaken', hashOf(files)].includes(have.files), 'configuration', 'its configuration'),
    ...when(needsCertificate(part) && have.certificate === 'bad', 'certificate', 'its certificate'),
    ...when(
      shared !== undefined && have.certificateHash !== certificateHashOf(shared.certificate),
      'certificate',
      'the certificate of its names',
    ),
    ...when(!have.running, 'state', 'start it'),
    ...when(part === 'caddy' && leaving, 'state', 'let visitors come again'),
  ]
}

/** One part runs on one machine as wanted. */
export function partStep(deps: ClusterDeps, wish: PartWish): EstateStep {
  const { part, name, role } = wish
  const verb = (have: OpenNode['parts'][Part]): string => (have.files === 'none' ? 'set up' : 'change')
  return {
    id: wish.when === 'down' ? revivalStepId(part, name) : partStepId(part, name),
    noun: 'cluster',
    title: wish.when === 'up' ? `what runs of ${part} on ${name} is as wanted` : `${name} runs ${part}`,
    needs: [`machine ${name}`, SECRETS_STEP, ...wish.needs],
    reads: ['servers', 'clusterNodes', 'consul', 'nomad'],
    typicalMs: 15_000,
    look(world) {
      const later = { kind: 'create', summary: `set up ${part} on ${name}` } as const
      const node = openNode(world, name)
      const secrets = secretsOf(world.get('clusterNodes'))
      // What does not run is the other step's, which this one waits for.
      if (wish.when === 'up' && !node?.parts[part].running) return done('it does not run yet')
      if (!node || !secrets) return blocked(node ? "the cluster's secrets" : whyClosed(world, name), later)
      const files = filesOf(deps, part, { name, role, privateIp: node.privateIp, interface: node.interface }, secrets)
      const have = node.parts[part]
      const nomad = world.get('nomad')
      const shared = part === 'caddy' && nomad.state === 'up' ? nomad.certificate : undefined
      if (part === 'caddy' && deps.cluster.certificateNames.length > 0 && !shared) return blocked('the certificate', later)
      const different = differences(part, node, files, deps.cluster.programs[part], shared).filter(
        // What is unfinished may be a certificate.
        each => wish.keeps === 'everything' || each.what === 'certificate' || each.what === 'unfinished',
      )
      if (different.length === 0 || (wish.when === 'down' && have.running)) return done(`${part} ${have.version ?? ''}`.trim())
      return todo({
        kind: have.files === 'none' ? 'create' : 'change',
        summary: `${verb(have)} ${part} on ${name} (${different.map(each => each.says).join(', ')})`,
        async apply({ world: live, signal, log }) {
          const { version = '', url = '', sha256 = '' } = deps.cluster.programs[part]
          const member = { name, datacenter: deps.cluster.datacenter, role, privateIp: node.privateIp }
          const renew = needsCertificate(part) && have.certificate === 'bad'
          if (have.running) await wish.spare(live, signal)
          const issued = renew ? await issue(secrets, member, deps.clock.nowMs()) : undefined
          log(`${part} is being installed and started`)
          await runProgram(
            deps,
            targetOn(deps, live, name),
            'set-cluster-part',
            {
              PART: part,
              CONFIG: files.config,
              UNIT: files.unit,
              VERSION: version,
              URL: url,
              SHA256: sha256,
              ...(issued ? { CA: secrets.caCertificate, CERT: issued.certificate, KEY: issued.key } : {}),
              ...(shared ? { CERT: shared.certificate, KEY: shared.privateKey } : {}),
              ...(part === 'consul' ? { JOIN: joinOf(deps, live) } : {}),
              ...(files.logins ? { LOGINS: files.logins } : {}),
              BLIND_S: String(meetsVisitors(part) ? blindSecondsOf(deps.cluster) : 0),
            },
            signal,
          )
          setNode(live, name, open => ({
            ...open,
            ...(part === 'caddy' ? { leaving: false } : {}),
            parts: {
              ...open.parts,
              [part]: {
                ...have,
                ...(version ? { version } : {}),
                running: true,
                files: hashOf(files),
                certificate: 'good',
                certificateHash: certificateHashOf(shared?.certificate ?? issued?.certificate ?? ''),
              },
            },
          }))
          // What the program found or fetched where the file names no version is read again at the end.
          if (version === '' && have.version === undefined) live.touch('clusterNodes')
          await wish.settle(live, signal)
          await runProgram(deps, targetOn(deps, live, name), 'confirm-cluster-part', { PART: part })
          if (part === 'consul' && node.parts.caddy.running)
            await runProgram(deps, targetOn(deps, live, name), 'set-cluster-visitors', { VISITORS: 'come' })
        },
      })
    },
  }
}

/** Whom a member asks on its first start: every server of the cluster, itself too. */
const joinOf = (deps: ClusterDeps, world: WorldView<EstateWorld>): string => {
  const addresses = deps.cluster.servers.flatMap(name => openNode(world, name)?.privateIp ?? [])
  return `${JSON.stringify({ retry_join: addresses, retry_interval: '2s' })}\n`
}
