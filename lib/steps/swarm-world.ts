/** The swarm of a Dokploy server with workers, as its manager tells it. */

import { hasCode, LandfallError } from '../errors.ts'
import type { Estate, ServerSpec } from '../estate/estate.ts'
import { isOurs, LABEL_KEYS } from '../estate/labels.ts'
import type { Server } from '../providers/ports/cloud.ts'
import type { Target } from '../providers/ports/machine.ts'
import type { Deps } from './deps.ts'
import { parseFactLines, runProgram, targetOf } from './machine.ts'

export interface SwarmNode {
  readonly id: string
  /** Its host name: the server's name. */
  readonly name: string
  /** `ready`, `down`, `unknown` … */
  readonly state: string
  /** `active`, `drain`, `pause` */
  readonly availability: string
  readonly role: string
  /** Whether a run of ours has begun to take it out. */
  readonly isLeaving: boolean
  /** Containers that it runs or is about to. */
  readonly tasks: number
}

export type SwarmState =
  | { readonly state: 'away'; readonly why: string }
  /** `address`: where workers join. */
  | { readonly state: 'up'; readonly address: string; readonly nodes: readonly SwarmNode[] }

export interface SwarmReader {
  read(manager: Server): Promise<SwarmState>
}

export interface WorkerServer extends ServerSpec {
  readonly joins: string
}

export const isWorker = (spec: ServerSpec): spec is WorkerServer => spec.joins !== undefined

/** Our servers that worked for a swarm and shall not any more. Pure. */
export const leavingServers = (
  { name, servers: specs }: Pick<Estate, 'name' | 'servers'>,
  servers: readonly Server[],
): Server[] =>
  servers.filter(
    ({ name: server, labels }) =>
      isOurs(labels, name) &&
      labels[LABEL_KEYS.joins] !== undefined &&
      !specs.some(spec => spec.name === server && spec.joins !== undefined),
  )

/** The servers whose swarms have workers, or had. Pure. */
export const managersOf = (estate: Pick<Estate, 'name' | 'servers'>, servers: readonly Server[]): Server[] => {
  const names = new Set([
    ...estate.servers.map(spec => spec.joins),
    ...leavingServers(estate, servers).map(server => server.labels[LABEL_KEYS.joins]),
  ])
  return servers.filter(server => isOurs(server.labels, estate.name) && names.has(server.name))
}

type ReaderDeps = Pick<Deps, 'estate' | 'machines' | 'programs'>

/** What the manager says now. @throws as `runProgram` */
export async function readSwarm(
  deps: Pick<Deps, 'machines' | 'programs'>,
  target: Target,
  signal?: AbortSignal,
): Promise<SwarmState> {
  const text = await runProgram(deps, target, 'swarm-nodes', {}, signal)
  const nodes = text.split('\n').flatMap((line): SwarmNode[] => {
    const [word, id = '', name = '', state = '', availability = '', role = '', leaving, tasks] = line.split(' ')
    if (word !== 'node') return []
    return [{ id, name, state, availability, role, isLeaving: leaving === 'leaving', tasks: Number(tasks ?? 0) }]
  })
  return { state: 'up', address: parseFactLines(text).address ?? '', nodes }
}

export function createSwarmReader(deps: ReaderDeps): SwarmReader {
  return {
    async read(manager) {
      const target = targetOf(deps.estate.name, manager)
      if (manager.status !== 'running') return { state: 'away', why: `the server is ${manager.status}` }
      if (!target || manager.labels[LABEL_KEYS.trust] !== 'pinned')
        return { state: 'away', why: 'the machine is not trusted yet' }
      const seen = await deps.machines.look(target)
      if (seen.state !== 'ready') return { state: 'away', why: seen.why }
      try {
        return await readSwarm(deps, target)
      } catch (error) {
        if (error instanceof LandfallError && hasCode(error, 'vendor', 'network', 'timeout'))
          return { state: 'away', why: error.message }
        throw error
      }
    },
  }
}
