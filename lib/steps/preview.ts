/** Previews: what is not wanted goes first, then each wanted one is put on its machine. */

import { blocked, type Change, done, todo } from '../engine/step.ts'
import { rateOf } from '../estate/cost-months.ts'
import { previewHost, previewServerName } from '../estate/previews.ts'
import { diffPreviews } from '../preview/desired.ts'
import type { EstateStep } from './deps.ts'
import { runProgram } from './machine.ts'
import { deploy } from './preview-deploy.ts'
import {
  isSettled,
  otherSubstrate,
  PREVIEW_SLICES,
  type PreviewDeps,
  readyOn,
  runsIn,
  serverOf,
  straysIn,
  targetIn,
  updateReady,
  type View,
  verdictsIn,
} from './preview-kit.ts'
import { previewServers } from './preview-world.ts'
import type { EstateWorld } from './world.ts'

const METADATA_SERVICE = '169.254.169.254/32'

/** What the containers on `name` must not reach. Where strangers' code runs that is the private network too; an edge alone needs it. */
const wallsOn = ({ spec, estate }: PreviewDeps, name: string): readonly string[] => {
  const runsCode = spec.substrate === 'shared' || name !== spec.host
  return [METADATA_SERVICE, ...(runsCode && estate.network ? [estate.network.range] : [])]
}

/** The machine can run previews, within walls. */
export function previewHostStep(deps: PreviewDeps, name: string): EstateStep {
  const walls = wallsOn(deps, name)
  const prepare = {
    kind: 'change',
    summary: `prepare ${name} for previews: walls around containers, Docker, Compose, git`,
  } as const
  return {
    id: `preview host ${name}`,
    noun: 'preview',
    title: `${name} can run previews`,
    needs: [`machine ${name}`],
    reads: ['previews', 'machines'],
    typicalMs: 20_000,
    look(world) {
      const state = world.get('previews')[name]
      if (state?.state === 'ready' && isSame(state.walls, walls)) return done(`${state.runs.length} there`)
      if ((state?.state ?? 'unknown') === 'unknown' && world.get('machines')[name]?.state !== 'ready')
        return blocked(`machine ${name}`, prepare)
      return todo({
        ...prepare,
        async apply({ world: live, signal }) {
          const { target } = targetIn(deps, live, name)
          const [range] = walls.filter(each => each !== METADATA_SERVICE)
          await runProgram(deps, target, 'preview-host', range ? { RANGE: range } : {}, signal)
          const before = readyOn(live, name) ?? { state: 'ready', caddyfile: 'none', runs: [] }
          live.update('previews', all => ({ ...all, [name]: { ...before, walls } }))
          live.touch('previews')
        },
      })
    },
  }
}

const isSame = (some: readonly string[], others: readonly string[]): boolean =>
  [...some].sort().join() === [...others].sort().join()

const monthlyOf = (world: View, name: string): number | undefined => {
  const server = world.get('servers').find(each => each.name === name)
  return server && rateOf(server, { serverTypes: world.get('serverTypes'), pricing: world.get('pricing') })?.monthly.net
}

/** Previews that nobody wants any more, or not there, are gone; before anything is deployed, so that there are never more than allowed. */
export function removalStep(deps: PreviewDeps): EstateStep {
  const { estate, spec } = deps
  return {
    id: 'previews gone',
    noun: 'preview',
    title: 'no preview is left that nobody wants',
    needs: spec.substrate === 'shared' ? [`preview host ${spec.host}`] : [],
    reads: [...PREVIEW_SLICES, 'serverTypes', 'pricing'],
    order: 'parallel',
    look(world) {
      const verdicts = verdictsIn(deps, world)
      const standing = (number: number) => verdicts.find(each => each.number === number)?.standing ?? 'no such pull request'
      const strays = straysIn(deps, world)
      const moved =
        otherSubstrate(spec) === 'servers' ? `previews share ${spec.host} now` : 'previews have servers of their own now'
      const remove = [
        ...diffPreviews(verdicts, runsIn(deps, world)).remove.map(number => ({
          number,
          from: spec.substrate,
          why: standing(number),
        })),
        ...strays.map(({ number }) => ({ number, from: otherSubstrate(spec), why: moved })),
      ]
      if (remove.length === 0) return done('none')
      return todo(
        ...remove.map(({ number, from, why }): Change<EstateWorld> => {
          const monthly = from === 'servers' ? monthlyOf(world, previewServerName(estate.name, number)) : undefined
          return {
            kind: 'destroy',
            summary: `destroy preview ${number} (${why})`,
            ...(monthly === undefined ? {} : { monthlyNet: -monthly }),
            async apply({ world: live, signal }) {
              if (from === 'shared') {
                const { target } = targetIn(deps, live, spec.host)
                await runProgram(deps, target, 'preview-down', { NUMBER: String(number) }, signal)
                return updateReady(live, spec.host, state => ({
                  ...state,
                  runs: state.runs.filter(each => each.number !== number),
                }))
              }
              const server = previewServers(estate.name, live.get('servers')).get(number)
              if (!server) return
              await deps.cloud.deleteServer(server.id)
              live.update('servers', all => all.filter(each => each.id !== server.id))
            },
          }
        }),
      )
    },
  }
}

/** One pull request's preview is what it wants: there with its commit, or not there at all. */
export function previewStep(deps: PreviewDeps, number: number): EstateStep {
  const { spec } = deps
  const name = serverOf(deps, number)
  return {
    id: `preview ${number}`,
    noun: 'preview',
    title: `preview of pull request ${number}`,
    needs: ['previews gone', `preview host ${name}`],
    reads: PREVIEW_SLICES,
    typicalMs: 60_000,
    look(world) {
      const verdict = verdictsIn(deps, world).find(each => each.number === number)
      if (verdict?.standing !== 'wanted') return done(verdict?.standing ?? 'no such pull request')
      const run = readyOn(world, name)?.runs.find(each => each.number === number)
      const same = run?.head === verdict.head && run.generation === verdict.generation
      if (run && same && isSettled(run))
        return done(run.state === 'up' ? `https://${previewHost(spec.domain, number)}` : 'could not be deployed')
      const change = {
        kind: run ? 'change' : 'create',
        summary: `deploy preview ${number} (${verdict.head.slice(0, 7)}) at https://${previewHost(spec.domain, number)}`,
      } as const
      if (world.get('previews')[name]?.state !== 'ready') return blocked(`machine ${name}`, change)
      return todo({ ...change, apply: ({ world: live, signal, log }) => deploy(deps, verdict, live, signal, log) })
    },
  }
}
