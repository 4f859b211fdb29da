/**
 * Servers deleted and made anew, in one plan: what is to outlive them (public addresses, certificates) is put aside first, and the new ones
 * are found missing by the very steps that set an estate up, because those do not see the old ones.
 */

import { type Change, done, todo } from '../engine/step.ts'
import type { WorldView } from '../engine/world.ts'
import { hasCode, LandfallError } from '../errors.ts'
import { standingRate } from '../estate/cost-months.ts'
import type { ServerSpec } from '../estate/estate.ts'
import { isOurs, LABEL_KEYS } from '../estate/labels.ts'
import type { PrimaryIp, Server } from '../providers/ports/cloud.ts'
import type { ProgramResult, Target } from '../providers/ports/machine.ts'
import { Secret } from '../secret.ts'
import { fits, isKept, SURPLUS_ADDRESSES_STEP, surplusAddressesStep, withoutServer } from './address.ts'
import type { Deps, EstateStep } from './deps.ts'
import { danglingRecords, goingServer, type LeadingDeps, leadingSlices, refusedForDangling } from './leading.ts'
import { runProgram, targetOf } from './machine.ts'
import { moversOf, namesStep } from './rebuild-names.ts'
import { findServer, oldServerStepId } from './server.ts'
import type { EstateWorld } from './world.ts'

/** Certificates between two lives of a server, in the estate's directory, for its owner only. */
export interface KeptCertificates {
  list(): Promise<readonly string[]>
  read(server: string): Promise<Secret>
  write(server: string, text: Secret): Promise<void>
  remove(server: string): Promise<void>
}

export interface RebuildDeps extends Pick<Deps, 'cloud' | 'machines' | 'programs' | 'runId' | 'dropsAddresses'>, LeadingDeps {
  readonly certificates: KeptCertificates
  readonly keeps: ReadonlySet<'addresses' | 'certificates'>
  /** What has to be done before anything is deleted. */
  readonly after: readonly string[]
}

const NO_CERTIFICATES = 4

const isOld = (deps: Pick<Deps, 'estate' | 'runId'>, server: Server): boolean =>
  isOurs(server.labels, deps.estate.name) && server.labels[LABEL_KEYS.run] !== deps.runId

/** The estate's server that this run did not make. */
const findOld = (deps: RebuildDeps, spec: ServerSpec, world: WorldView<EstateWorld>): Server | undefined => {
  const server = findServer(deps.estate.name, spec.name, world.get('servers'))
  return server && isOld(deps, server) ? server : undefined
}

/** Whether the new server will have it. */
const stays = (deps: RebuildDeps, spec: ServerSpec, ip: PrimaryIp, world: WorldView<EstateWorld>): boolean =>
  deps.keeps.has('addresses') && fits(spec, ip, world.get('serverTypes'))

const keptLabels = ({ estate }: RebuildDeps, { name }: ServerSpec, { labels }: PrimaryIp): PrimaryIp['labels'] => ({
  ...labels,
  [LABEL_KEYS.estate]: estate.name,
  [LABEL_KEYS.keptFor]: name,
})

/** The server's public addresses stay when it goes. */
function addressesStep(deps: RebuildDeps, spec: ServerSpec): EstateStep {
  return {
    id: `addresses ${spec.name} kept`,
    noun: 'server',
    title: `addresses that the new ${spec.name} takes up outlive the old one`,
    needs: deps.after,
    reads: ['servers', 'primaryIps', 'serverTypes'],
    look(world) {
      const server = findOld(deps, spec, world)
      if (!server) return done('nothing to keep')
      const staying = world.get('primaryIps').filter(ip => ip.serverId === server.id && stays(deps, spec, ip, world))
      const due = staying.filter(ip => ip.deletedWithServer || ip.labels[LABEL_KEYS.keptFor] !== spec.name)
      if (due.length === 0) return done(staying.length === 0 ? 'it takes up none' : staying.map(each => each.ip).join(' and '))
      return todo(
        ...due.map(
          (ip): Change<EstateWorld> => ({
            kind: 'change',
            summary: `keep the address ${ip.ip} for the new ${spec.name}`,
            async apply({ world: live }) {
              const labels = keptLabels(deps, spec, ip)
              await deps.cloud.keepPrimaryIp(ip.id, labels)
              live.update('primaryIps', all =>
                all.map(each => (each.id === ip.id ? { ...each, labels, deletedWithServer: false } : each)),
              )
            },
          }),
        ),
      )
    },
  }
}

/** The old server is gone; its certificates lie here. */
function oldServerStep(deps: RebuildDeps, spec: ServerSpec): EstateStep {
  const keepsCertificates = deps.keeps.has('certificates') && spec.dokploy !== undefined
  return {
    id: oldServerStepId(spec.name),
    noun: 'server',
    title: `the old ${spec.name} is gone`,
    needs: [...deps.after, ...(deps.keeps.has('addresses') ? [`addresses ${spec.name} kept`] : [])],
    reads: ['servers', 'keptCertificates', 'primaryIps', 'serverTypes', 'pricing', ...leadingSlices(deps)],
    typicalMs: 20_000,
    look(world) {
      const server = findOld(deps, spec, world)
      if (!server) return done('none')
      const ips = world.get('primaryIps').filter(ip => ip.serverId === server.id)
      const staying = ips.filter(ip => stays(deps, spec, ip, world))
      const lost = goingServer(server).addresses.filter(address => !staying.some(ip => ip.ip === address))
      const dangling = danglingRecords(deps, world, lost, moversOf(deps))
      if (dangling.length > 0) return refusedForDangling(dangling)
      const outlives = ips.some(ip => ip.type === 'ipv4' && (staying.includes(ip) || isKept(deps.estate.name, ip)))
      const { ipv4, ...bare } = server
      const rate = standingRate({ ...bare, ...(ipv4 === undefined || outlives ? {} : { ipv4 }) }, world.get('pricing'))
      return todo({
        kind: 'destroy',
        summary: `delete ${spec.name} with everything on its disk, to make it anew`,
        ...(rate ? { monthlyNet: -rate.monthly.net } : {}),
        details: [
          ...(keepsCertificates ? ['its certificates are put aside and brought to the new one'] : []),
          ...(spec.dokploy
            ? ['Dokploy’s projects, databases and volumes there are lost; what is in backups stays where it is']
            : []),
          ...(lost.length === 0 ? [] : [`given up: its ${lost.length === 1 ? 'address' : 'addresses'} ${lost.join(' and ')}`]),
        ],
        async apply({ world: live, signal, log }) {
          if (keepsCertificates) await saveCertificates(deps, spec, server, live, signal, log)
          await deps.cloud.deleteServer(server.id)
          live.update('servers', all => all.filter(each => each.id !== server.id))
          live.update('machines', ({ [spec.name]: _, ...others }) => others)
          live.update('panels', ({ [spec.name]: _, ...others }) => others)
          if (spec.dokploy) live.update('swarms', ({ [spec.name]: _, ...others }) => others)
          live.update('primaryIps', all => withoutServer(all, server.id))
        },
      })
    },
  }
}

type Live = Parameters<Change<EstateWorld>['apply']>[0]['world']

/** Asked under the key that is pinned, or the one that was announced, where a run ended between its use and its pinning. */
async function readCertificates(deps: RebuildDeps, server: Server, signal: AbortSignal): Promise<ProgramResult | undefined> {
  const read = async (target: Target | undefined) =>
    target && (await deps.machines.run(target, deps.programs['read-certificates'], {}, signal))
  const next = targetOf(deps.estate.name, server, LABEL_KEYS.nextHostKey)
  try {
    return await read(targetOf(deps.estate.name, server))
  } catch (error) {
    if (!next || !hasCode(error, 'host_key')) throw error
    return read(next)
  }
}

async function saveCertificates(
  deps: RebuildDeps,
  spec: ServerSpec,
  server: Server,
  live: Live,
  signal: AbortSignal,
  log: (line: string) => void,
): Promise<void> {
  let why = ''
  const result = await readCertificates(deps, server, signal).catch((error: unknown) => {
    if (!(error instanceof LandfallError) || !hasCode(error, 'network', 'timeout', 'host_key', 'forbidden')) throw error
    why = ` (${error.message.replace(/\.$/, '')})`
    return undefined
  })
  if (result?.exitCode === NO_CERTIFICATES) {
    log(`${spec.name} has no certificates`)
    return
  }
  // An earlier run put them aside before it was cut short.
  if (result === undefined && live.get('keptCertificates').includes(spec.name)) {
    log(`${spec.name} does not answer; the certificates that were put aside are kept`)
    return
  }
  const encoded = /^acme ([A-Za-z0-9+/=]+)$/m.exec(result?.stdout ?? '')?.[1]
  if (result?.exitCode !== 0 || encoded === undefined)
    throw new LandfallError('vendor', `The certificates of ${spec.name} could not be read${why}, so it was not deleted.`, {
      hint: 'If they may be lost: add --drop certificates to the command.',
    })
  const text = new Secret(`certificates of ${spec.name}`, Buffer.from(encoded, 'base64').toString('utf8'), 'unlisted')
  await deps.certificates.write(spec.name, text)
  live.update('keptCertificates', all => [...new Set([...all, spec.name])])
}

/** What was put aside is in place before Traefik would order it again. */
function certificatesStep(deps: RebuildDeps, spec: ServerSpec): EstateStep {
  return {
    id: `certificates ${spec.name}`,
    noun: 'dokploy',
    title: `${spec.name} has the certificates that it had`,
    needs: [`dokploy ${spec.name}`],
    reads: ['servers', 'keptCertificates'],
    look(world) {
      if (!world.get('keptCertificates').includes(spec.name)) return done('none to bring back')
      return todo({
        kind: 'change',
        summary: `bring the certificates back to ${spec.name}`,
        async apply({ world: live, signal }) {
          const server = findServer(deps.estate.name, spec.name, live.get('servers'))
          const target = server && targetOf(deps.estate.name, server)
          if (!target) throw new LandfallError('not_found', `${spec.name} has no address or no recorded host key.`)
          await runProgram(deps, target, 'write-certificates', { ACME: await deps.certificates.read(spec.name) }, signal)
          await deps.certificates.remove(spec.name)
          live.update('keptCertificates', all => all.filter(name => name !== spec.name))
        },
      })
    },
  }
}

/** Addresses as they are when the old servers are gone. */
const leftAddresses = (deps: RebuildDeps, world: WorldView<EstateWorld>): readonly PrimaryIp[] =>
  deps.estate.servers.reduce<readonly PrimaryIp[]>((ips, spec) => {
    const server = findOld(deps, spec, world)
    if (!server) return ips
    const kept = ips.map(ip =>
      ip.serverId === server.id && stays(deps, spec, ip, world)
        ? { ...ip, deletedWithServer: false, labels: keptLabels(deps, spec, ip) }
        : ip,
    )
    return withoutServer(kept, server.id)
  }, world.get('primaryIps'))

/** A world in which the old servers are not there, nor anything that was read from them. */
const withoutOld = (deps: RebuildDeps, world: WorldView<EstateWorld>): WorldView<EstateWorld> => {
  const old = new Set(deps.estate.servers.flatMap(spec => (findOld(deps, spec, world) ? [spec.name] : [])))
  const ids = new Set(
    world
      .get('servers')
      .filter(each => old.has(each.name) && isOld(deps, each))
      .map(each => each.id),
  )
  const others = <T>(all: Readonly<Record<string, T>>): Readonly<Record<string, T>> =>
    Object.fromEntries(Object.entries(all).filter(([name]) => !old.has(name)))
  return {
    get(slice) {
      const value = world.get(slice)
      const hidden: Partial<EstateWorld> = {
        ...(slice === 'servers' ? { servers: world.get('servers').filter(each => !ids.has(each.id)) } : {}),
        ...(slice === 'primaryIps' ? { primaryIps: leftAddresses(deps, world) } : {}),
        ...(slice === 'machines' ? { machines: others(world.get('machines')) } : {}),
        ...(slice === 'panels' ? { panels: others(world.get('panels')) } : {}),
        ...(slice === 'swarms' ? { swarms: others(world.get('swarms')) } : {}),
        ...(slice === 'services' ? { services: others(world.get('services')) } : {}),
        ...(slice === 'outside' ? { outside: others(world.get('outside')) } : {}),
      }
      return Object.hasOwn(hidden, slice) ? (hidden[slice] as typeof value) : value
    },
  }
}

/** The steps of `all` for servers that are made anew, behind those that put aside and delete. */
export function rebuildSteps(deps: RebuildDeps, all: readonly EstateStep[]): EstateStep[] {
  const { servers } = deps.estate
  const before = servers.flatMap(spec => [
    ...(deps.keeps.has('addresses') ? [addressesStep(deps, spec)] : []),
    oldServerStep(deps, spec),
  ])
  const withPanels = deps.keeps.has('certificates') ? servers.filter(spec => spec.dokploy) : []
  const hosts = new Map<string, string>(
    withPanels.flatMap(spec => (spec.dokploy?.host ? [[`panel ${spec.dokploy.host}`, spec.name] as const] : [])),
  )
  const names = deps.estate.dns ? servers.map(spec => namesStep(deps, spec, server => isOld(deps, server))) : []
  const behind = all.map((given): EstateStep => {
    const step =
      given.id === SURPLUS_ADDRESSES_STEP
        ? surplusAddressesStep(deps, [...given.needs, ...names.map(each => each.id)], 'ours')
        : given
    const owner = hosts.get(step.id)
    const gone = servers.filter(spec => step.id === `server ${spec.name}`).map(spec => oldServerStepId(spec.name))
    return {
      ...step,
      needs: [...step.needs, ...gone, ...(owner === undefined ? [] : [`certificates ${owner}`])],
      reads: [...new Set<keyof EstateWorld>([...step.reads, 'servers', 'serverTypes'])],
      look: world => step.look(withoutOld(deps, world)),
    }
  })
  return [...before, ...behind, ...names, ...withPanels.map(spec => certificatesStep(deps, spec))]
}
