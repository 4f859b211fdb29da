/** Updates of the service's code and of its server's system. */

import { done, refused, todo } from '../engine/step.ts'
import type { World } from '../engine/world.ts'
import type { Target } from '../providers/ports/machine.ts'
import type { Deps, EstateStep } from './deps.ts'
import {
  notThere,
  readService,
  type ServiceFacts,
  type ServiceServer,
  serviceTarget,
  shortRevision,
  unreadable,
} from './service.ts'
import { runUpdate, serviceUpdate } from './update-unit.ts'
import type { EstateWorld } from './world.ts'

type UpdateDeps = Pick<Deps, 'estate' | 'machines' | 'programs' | 'clock' | 'nixos'>

/** The head of the branch, a commit, or the one before the last update. */
export type Wanted =
  | { readonly kind: 'branch' }
  | { readonly kind: 'revision'; readonly id: string }
  | { readonly kind: 'previous' }

/** The service runs the wanted revision and is healthy. */
export function updateStep(deps: UpdateDeps, spec: ServiceServer, wanted: Wanted): EstateStep {
  const { service } = spec
  return {
    id: `update ${spec.name}`,
    noun: 'service',
    title: `the service on ${spec.name} runs ${wanted.kind === 'branch' ? `the head of ${service.branch}` : 'the wanted revision'}`,
    needs: [],
    reads: ['servers', 'machines', 'services'],
    typicalMs: 60_000,
    look(world) {
      const now = world.get('services')[spec.name]
      if (now?.state !== 'present' || now.facts.settings === '') return notThere(spec)
      const { revision, back, remote, health } = now.facts
      const target = wanted.kind === 'revision' ? wanted.id : wanted.kind === 'previous' ? back : remote
      if (target === '')
        return wanted.kind === 'previous'
          ? refused(
              `No update of the service on ${spec.name} is known that could be taken back.`,
              'Name a commit: bun scripts/service.ts update --revision ID',
            )
          : refused(unreadable(spec).why, unreadable(spec).hint)
      if (revision.startsWith(target) && health === 'healthy') return done(shortRevision(revision))
      return todo({
        kind: 'change',
        summary: `update the service on ${spec.name} from ${shortRevision(revision)} to ${shortRevision(target)}`,
        details: ['it restarts; when it is not healthy afterwards, the revision before comes back'],
        async apply({ world: live, signal, log }) {
          const machine = serviceTarget(deps, spec, live)
          const revision = wanted.kind === 'branch' ? '' : target
          await runUpdate(deps, machine, {
            ...serviceUpdate(service, { revision, isRollback: wanted.kind === 'previous' }),
            signal,
            log,
          })
          await refresh(deps, spec.name, machine, live)
        },
      })
    },
  }
}

/** Whether the machine runs what the config names, as nixos/ describes it now. */
export const isPresentSystem = (
  { nixos }: Pick<Deps, 'nixos'>,
  spec: ServiceServer,
  { content, system }: ServiceFacts,
): boolean => content === nixos.flake.content && system === spec.nixos?.system

/** The server's system is built from the present flake. */
export function updateSystemStep(deps: UpdateDeps, spec: ServiceServer): EstateStep {
  const { flake } = deps.nixos
  const system = spec.nixos?.system ?? ''
  return {
    id: `update system ${spec.name}`,
    noun: 'machine',
    title: `${spec.name} runs the system that nixos/ describes now`,
    needs: [],
    reads: ['servers', 'machines', 'services'],
    typicalMs: 4 * 60_000,
    look(world) {
      const now = world.get('services')[spec.name]
      if (now?.state !== 'present') return notThere(spec)
      if (isPresentSystem(deps, spec, now.facts)) return done(`${system}, sources ${flake.content.slice(0, 12)}`)
      return todo({
        kind: 'change',
        summary: `build ${system} on ${spec.name} from the present nixos/ and switch to it`,
        details: [
          `${now.facts.system || 'unknown'}, sources ${now.facts.content.slice(0, 12) || 'unknown'} → ${system}, sources ${flake.content.slice(0, 12)}`,
          'when SSH or the service does not come back, the system before does',
        ],
        async apply({ world: live, signal, log }) {
          const machine = serviceTarget(deps, spec, live)
          const input = { ARCHIVE: await flake.archive(), SYSTEM: system, CONTENT: flake.content }
          await runUpdate(deps, machine, { kind: 'system', input, signal, log })
          await refresh(deps, spec.name, machine, live)
        },
      })
    },
  }
}

async function refresh(deps: UpdateDeps, name: string, target: Target, live: World<EstateWorld>): Promise<void> {
  const facts = await readService(deps, target)
  live.update('services', all => {
    const now = all[name]
    return now?.state === 'present' ? { ...all, [name]: { ...now, facts } } : all
  })
}
