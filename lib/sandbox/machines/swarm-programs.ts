/**
 * Landfall's programs about a swarm, on simulated machines: who is in it stands on its manager's disk, and who may speak to whom is what
 * the guards were told. Nothing runs on a pretended worker.
 */

import type { ProgramName } from '../../estate/programs.ts'
import { fail, lines, type Outcome } from './outcome.ts'
import type { Emulation, ProgramMachine, Values } from './programs.ts'
import { hasReached, isGolden, type MachineServer } from './state.ts'

interface NodeRow {
  readonly id: string
  readonly name: string
  readonly serverId: string
  readonly availability: 'active' | 'drain'
  readonly isLeaving: boolean
}

/** What a machine's disk holds about swarms. */
export interface SwarmDisk {
  /** When it began to be made ready to join one, and how long that takes. */
  readonly preparing?: { readonly startedAtMs: number; readonly durationMs: number }
  readonly peers?: readonly string[]
  /** The swarm that it works for. */
  readonly member?: { readonly nodeId: string; readonly managerId: string }
  /** Of the swarm that it manages, without itself. */
  readonly nodes?: readonly NodeRow[]
  readonly made?: number
}

/** Another machine, as a swarm sees it. */
export interface Member {
  readonly server: MachineServer
  readonly isUp: boolean
  readonly managesSwarm: boolean
  readonly disk: SwarmDisk
  set(disk: SwarmDisk): void
}

export interface SwarmMachine {
  readonly disk: SwarmDisk
  set(disk: SwarmDisk): void
  readonly prepareMs: number
  readonly members: readonly Member[]
}

const ok = lines({ ok: 1 })
const noSpace = fail(1, 'mktemp: failed to create file: No space left on device')
const NO_SWARM = fail(4, 'It manages no swarm.')

const workerState = ({ swarm: { disk }, nowMs }: ProgramMachine): 'absent' | 'installing' | 'installed' =>
  disk.preparing === undefined
    ? 'absent'
    : nowMs < disk.preparing.startedAtMs + disk.preparing.durationMs
      ? 'installing'
      : 'installed'

/** Whether it was made ready to join a swarm. */
export const isPrepared = (machine: ProgramMachine): boolean => workerState(machine) === 'installed'

const managesSwarm = ({ server, moment }: ProgramMachine): boolean => isGolden(server) || hasReached(moment.install, 'secrets')

const ownId = (serverId: string): string => `manager${serverId}`
/** What a worker joins the swarm of a server with. */
export const workerToken = (serverId: string): string => `SWMTKN-1-simulated-worker-token-of-${serverId}`

export const swarmFacts = (machine: ProgramMachine): Readonly<Record<string, string>> => {
  const { server, swarm } = machine
  const node = managesSwarm(machine) ? ownId(server.id) : (swarm.disk.member?.nodeId ?? '')
  return {
    swarm: node === '' ? 'inactive' : 'active',
    swarm_node: node,
    swarm_peers: (swarm.disk.peers ?? []).join(' '),
    worker: workerState(machine),
  }
}

const start = (machine: ProgramMachine, { POOL = '' }: Values): Outcome => {
  if (!/^[0-9./]+$/.test(POOL)) return fail(65, 'POOL is not what an installation can use.')
  const { swarm, nowMs } = machine
  const state = workerState(machine)
  if (state !== 'absent') return lines({ unit: state === 'installed' ? 'done' : 'running' })
  swarm.set({ ...swarm.disk, preparing: { startedAtMs: nowMs, durationMs: swarm.prepareMs } })
  return lines({ unit: 'started' })
}

const UNITS = { absent: ['absent', 'none'], installing: ['running', 'docker'], installed: ['done', 'done'] } as const

const watch = (machine: ProgramMachine): Outcome => {
  const [unit, stage] = UNITS[workerState(machine)]
  return lines({ unit, stage })
}

const setPeers = ({ swarm, diskFull }: ProgramMachine, { PEERS = '' }: Values): Outcome => {
  if (!/^[0-9. ]*$/.test(PEERS)) return fail(65, 'PEERS are IPv4 addresses with spaces between.')
  if (diskFull) return noSpace
  swarm.set({ ...swarm.disk, peers: PEERS.split(' ').filter(each => each !== '') })
  return ok
}

const nodes = (machine: ProgramMachine): Outcome => {
  if (!managesSwarm(machine)) return NO_SWARM
  const { server, swarm } = machine
  const isReady = (node: NodeRow): boolean =>
    swarm.members.some(each => each.server.id === node.serverId && each.isUp && each.disk.member?.nodeId === node.id)
  const rows = (swarm.disk.nodes ?? []).map(node =>
    [
      'node',
      node.id,
      node.name,
      isReady(node) ? 'ready' : 'down',
      node.availability,
      'worker',
      node.isLeaving ? 'leaving' : 'staying',
      0,
    ].join(' '),
  )
  const own = `node ${ownId(server.id)} ${server.name} ready active manager staying 3`
  return { exitCode: 0, stdout: [`address=${machine.advertiseAddr}`, own, ...rows].map(line => `${line}\n`).join('') }
}

const join = (machine: ProgramMachine, { TOKEN, MANAGER = '', ADVERTISE_ADDR = '', LEAVE }: Values): Outcome => {
  const { server, swarm } = machine
  if (managesSwarm(machine)) return fail(1, 'This server manages a swarm of its own, which is not left for another.')
  if (!isPrepared(machine)) return fail(1, 'Docker does not answer.')
  if (swarm.disk.member !== undefined && LEAVE !== 'yes') return ok
  if (!server.privateIps?.includes(ADVERTISE_ADDR))
    return fail(1, `Docker refused to join: ${ADVERTISE_ADDR} is no address of this node.`)
  const manager = swarm.members.find(each => each.managesSwarm && each.isUp && each.server.privateIps?.includes(MANAGER))
  const areOpen = manager?.disk.peers?.includes(ADVERTISE_ADDR) && swarm.disk.peers?.includes(MANAGER)
  if (!manager || !areOpen) return fail(1, 'Docker refused to join: rpc error: code = Unavailable desc = connection error')
  if (TOKEN !== workerToken(manager.server.id))
    return fail(1, 'Docker refused to join: rpc error: a valid join token is necessary to join this cluster')
  const made = (manager.disk.made ?? 0) + 1
  const id = `node${manager.server.id}x${made}`
  const row: NodeRow = { id, name: server.name, serverId: server.id, availability: 'active', isLeaving: false }
  manager.set({ ...manager.disk, made, nodes: [...(manager.disk.nodes ?? []), row] })
  swarm.set({ ...swarm.disk, member: { nodeId: id, managerId: manager.server.id } })
  return ok
}

const leave = ({ swarm }: ProgramMachine): Outcome => {
  const { member: _, ...rest } = swarm.disk
  swarm.set(rest)
  return ok
}

const setNode = (machine: ProgramMachine, { NODE: id = '', STATE: state }: Values): Outcome => {
  if (!managesSwarm(machine)) return NO_SWARM
  const { swarm } = machine
  const all = swarm.disk.nodes ?? []
  if (state === 'gone') {
    swarm.set({ ...swarm.disk, nodes: all.filter(node => node.id !== id) })
    return ok
  }
  if (!all.some(node => node.id === id)) return fail(1, `Error response from daemon: node ${id} not found`)
  if (state !== 'drain' && state !== 'active') return fail(65, 'A node is active, drained or gone.')
  const changed = { availability: state, isLeaving: state === 'drain' } as const
  swarm.set({ ...swarm.disk, nodes: all.map(node => (node.id === id ? { ...node, ...changed } : node)) })
  return ok
}

const token = (machine: ProgramMachine): Outcome =>
  managesSwarm(machine)
    ? { exitCode: 0, stdout: `TOKEN ${Buffer.from(workerToken(machine.server.id)).toString('base64')}\n` }
    : fail(1, 'The swarm gives no token for workers.')

export const SWARM_PROGRAMS = {
  'start-worker-install': { accepts: ['POOL'], run: start },
  'watch-worker-install': { accepts: [], run: watch },
  'set-swarm-peers': { accepts: ['PEERS'], run: setPeers },
  'swarm-nodes': { accepts: [], run: nodes },
  'read-swarm-token': { accepts: [], run: token },
  'join-swarm': { accepts: ['TOKEN', 'MANAGER', 'ADVERTISE_ADDR', 'LEAVE'], run: join },
  'leave-swarm': { accepts: [], run: leave },
  'set-swarm-node': { accepts: ['NODE', 'STATE'], run: setNode },
} satisfies Partial<Record<ProgramName, Emulation>>

/** What two equal worlds have in common: no ids, no times. */
export const describeSwarm = ({ peers = [], nodes: rows = [], member }: SwarmDisk) => ({
  peers: peers.toSorted(),
  nodes: rows.map(({ name, availability, isLeaving }) => `${name} ${availability}${isLeaving ? ' leaving' : ''}`).sort(),
  isMember: member !== undefined,
})
