/** Previews: what is not wanted goes first, then each wanted one is put on its machine, and the edge leads visitors there. */

import { createHash } from 'node:crypto'
import { blocked, type Change, done, todo } from '../engine/step.ts'
import type { World } from '../engine/world.ts'
import { type PreviewSpec, previewHost, previewServerName } from '../estate/previews.ts'
import { renderPreviewCompose } from '../preview/compose-file.ts'
import { desiredPreviews, diffPreviews, type Run, type Verdict, type Words } from '../preview/desired.ts'
import { renderCaddyfile, type Way } from '../preview/edge.ts'
import type { Server } from '../providers/ports/cloud.ts'
import type { PullRequests } from '../providers/ports/github.ts'
import type { Target } from '../providers/ports/machine.ts'
import { Secret } from '../secret.ts'
import type { Deps, EstateStep } from './deps.ts'
import { parseFactLines, runProgram, targetOf } from './machine.ts'
import { type PreviewRun, type PreviewsState, previewServers } from './preview-world.ts'
import { findServer } from './server.ts'
import type { EstateWorld } from './world.ts'

export interface PreviewDeps
  extends Pick<Deps, 'estate' | 'runId' | 'clock' | 'cloud' | 'dns' | 'machines' | 'programs' | 'outside' | 'takeOver'> {
  readonly spec: PreviewSpec
  readonly github: PullRequests
  /** What the operator says about single pull requests. */
  readonly words: Words
  /** Where repositories are fetched from: "https://github.com". */
  readonly cloneBase: string
  readonly gitToken?: Secret
  /** Values of `spec.variables`; names without one are absent. */
  readonly variables: Readonly<Record<string, Secret>>
  /** One at a time writes the edge's file. */
  readonly alone: <T>(work: () => Promise<T>) => Promise<T>
}

type Live = World<EstateWorld>
type View = Pick<Live, 'get'>

/** Where the app's port is published on a server of its own. */
const PUBLISHED_PORT = 8080
const DEPLOY_LIMIT_S = 600
export const EDGE_IMAGE = 'caddy:2.10.2'

export const verdictsIn = ({ spec, words }: Pick<PreviewDeps, 'spec' | 'words'>, world: View): readonly Verdict[] => {
  const { pulls, nowMs } = world.get('pulls')
  return desiredPreviews(pulls, spec, nowMs, words)
}

const readyOn = (world: View, server: string): Extract<PreviewsState, { state: 'ready' }> | undefined => {
  const state = world.get('previews')[server]
  return state?.state === 'ready' ? state : undefined
}

const serverOf = ({ estate, spec }: Pick<PreviewDeps, 'estate' | 'spec'>, number: number): string =>
  spec.substrate === 'shared' ? spec.host : previewServerName(estate.name, number)

/** Everything that runs or is left of previews. A server without a deploy on it counts too: it is billed. */
export function runsIn(
  deps: Pick<PreviewDeps, 'estate' | 'spec'>,
  world: View,
): readonly (Run & Pick<PreviewRun, 'state' | 'why' | 'sinceMs'>)[] {
  if (deps.spec.substrate === 'shared') return readyOn(world, deps.spec.host)?.runs ?? []
  return [...previewServers(deps.estate.name, world.get('servers'))].map(([number, server]) => {
    const run = readyOn(world, server.name)?.runs.find(each => each.number === number)
    return run ?? { number, head: '', generation: '', state: 'partial', why: '', sinceMs: Date.parse(server.createdAt) }
  })
}

/** Settled: what was wanted runs, or was tried and cannot be. */
const isSettled = (run: Pick<PreviewRun, 'state'>): boolean => run.state === 'up' || run.state === 'failed'

/** What the edge has to lead to, as the world is. */
export function waysIn(deps: Pick<PreviewDeps, 'estate' | 'spec'>, world: View): readonly Way[] {
  const { spec, estate } = deps
  const network = spec.substrate === 'servers' && world.get('networks').find(each => each.name === estate.network?.name)
  return runsIn(deps, world)
    .filter(run => run.state === 'up')
    .flatMap(({ number }): Way[] => {
      if (spec.substrate === 'shared') return [{ number, upstream: `pr-${number}:${spec.port}` }]
      const server = previewServers(estate.name, world.get('servers')).get(number)
      const address = server?.privateIps.find(each => network && each.networkId === network.id)?.ip
      return address === undefined ? [] : [{ number, upstream: `${address}:${PUBLISHED_PORT}` }]
    })
}

const SLICES = ['pulls', 'previews', 'servers', 'networks'] as const satisfies readonly (keyof EstateWorld)[]

const targetIn = (deps: PreviewDeps, live: Live, name: string): { target: Target; server: Server } => {
  const server = findServer(deps.estate.name, name, live.get('servers'))
  const target = server && targetOf(deps.estate.name, server)
  if (!server || !target) throw new Error(`bug: ${name} has no address or key`)
  return { target, server }
}

const updateReady = (
  live: Live,
  server: string,
  change: (state: Extract<PreviewsState, { state: 'ready' }>) => PreviewsState,
): void =>
  live.update('previews', all => {
    const state = all[server]
    return state?.state === 'ready' ? { ...all, [server]: change(state) } : all
  })

/** The machine can run previews. */
export function previewHostStep(deps: PreviewDeps, name: string): EstateStep {
  const prepare = {
    kind: 'change',
    summary: `prepare ${name} for previews: Docker, Compose, git, walls around containers`,
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
      if (state?.state === 'ready') return done(`${state.runs.length} there`)
      if (state?.state !== 'bare' && world.get('machines')[name]?.state !== 'ready') return blocked(`machine ${name}`, prepare)
      return todo({
        ...prepare,
        async apply({ world: live, signal }) {
          const { target } = targetIn(deps, live, name)
          // Where strangers' code runs; the edge alone has to reach the servers of previews.
          const runsCode = deps.spec.substrate === 'shared' || name !== deps.spec.host
          const range = runsCode ? deps.estate.network?.range : undefined
          await runProgram(deps, target, 'preview-host', range ? { RANGE: range } : {}, signal)
          const before = live.get('previews')[name]
          live.update('previews', all => ({
            ...all,
            [name]: before?.state === 'ready' ? before : { state: 'ready', caddyfile: 'none', runs: [] },
          }))
          live.touch('previews')
        },
      })
    },
  }
}

const monthlyOf = (world: View, name: string): number | undefined => {
  const server = world.get('servers').find(each => each.name === name)
  return world
    .get('serverTypes')
    .find(type => type.name === server?.type)
    ?.offers.find(each => each.location === server?.location)?.monthly.net
}

/** Previews that nobody wants any more are gone; before anything is deployed, so that there are never more than allowed. */
export function removalStep(deps: PreviewDeps): EstateStep {
  const { estate, spec } = deps
  return {
    id: 'previews gone',
    noun: 'preview',
    title: 'no preview is left that nobody wants',
    needs: spec.substrate === 'shared' ? [`preview host ${spec.host}`] : [],
    reads: [...SLICES, ...(spec.substrate === 'servers' ? (['serverTypes'] as const) : [])],
    order: 'parallel',
    look(world) {
      const verdicts = verdictsIn(deps, world)
      const { remove } = diffPreviews(verdicts, runsIn(deps, world))
      if (remove.length === 0) return done('none')
      const why = (number: number) => verdicts.find(each => each.number === number)?.standing ?? 'no such pull request'
      return todo(
        ...remove.map((number): Change<EstateWorld> => {
          const name = serverOf(deps, number)
          const monthly = spec.substrate === 'servers' ? monthlyOf(world, name) : undefined
          return {
            kind: 'destroy',
            summary: `destroy preview ${number} (${why(number)})`,
            ...(monthly === undefined ? {} : { monthlyNet: -monthly }),
            async apply({ world: live, signal }) {
              if (spec.substrate === 'shared') {
                await runProgram(deps, targetIn(deps, live, name).target, 'preview-down', { NUMBER: String(number) }, signal)
                return updateReady(live, name, state => ({ ...state, runs: state.runs.filter(each => each.number !== number) }))
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
    reads: SLICES,
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

async function deploy(
  deps: PreviewDeps,
  verdict: Verdict,
  live: Live,
  signal: AbortSignal,
  log: (line: string) => void,
): Promise<void> {
  const { spec } = deps
  const { number, head, generation } = verdict
  const name = serverOf(deps, number)
  if (spec.substrate === 'servers' && privateAddress(deps, live, name) === undefined) {
    // The private address is known only to a list that is read after the start.
    live.touch('servers')
    await live.look(['servers'])
  }
  const { target } = targetIn(deps, live, name)
  const which = { NUMBER: String(number), HEAD: head, GENERATION: generation }
  log(`fetching ${head.slice(0, 7)}`)
  const fetched = parseFactLines(
    await runProgram(
      deps,
      target,
      'preview-fetch',
      {
        ...which,
        REPOSITORY: `${deps.cloneBase}/${spec.owner}/${spec.repository}${deps.cloneBase.startsWith('https:') ? '.git' : ''}`,
        COMPOSE_FILE: spec.composeFile,
        ...(deps.gitToken ? { TOKEN: deps.gitToken } : {}),
      },
      signal,
    ),
  )
  const composed = compose(deps, verdict, live, fetched)
  log(composed.state === 'ready' ? 'building and starting' : 'refused')
  const outcome = parseFactLines(
    await runProgram(
      deps,
      target,
      'preview-up',
      composed.state === 'ready'
        ? {
            ...which,
            COMPOSE: composed.file,
            BUILD_PATHS: composed.paths.join('\n'),
            SERVICES: String(Object.keys(JSON.parse(composed.file).services).length),
            VARIABLES: new Secret('preview variables', renderVariables(verdict.fork ? {} : deps.variables), 'unlisted'),
            LIMIT: String(DEPLOY_LIMIT_S),
          }
        : { ...which, WHY: composed.why.join('\n') },
      signal,
    ),
  )
  const state = outcome.state === 'up' ? 'up' : 'failed'
  const run: PreviewRun = {
    number,
    head,
    generation,
    state,
    sinceMs: deps.clock.nowMs(),
    why: composed.state === 'ready' ? '' : composed.why.join('\n'),
  }
  updateReady(live, name, before => ({ ...before, runs: [...before.runs.filter(each => each.number !== number), run] }))
  // What the machine wrote down about a failure is told in the comment.
  if (state === 'failed') {
    live.touch('previews')
    await live.look(['previews'])
  }
  await writeEdge(deps, live, signal)
}

const privateAddress = ({ estate }: PreviewDeps, live: Live, name: string): string | undefined => {
  const network = live.get('networks').find(each => each.name === estate.network?.name)
  return live
    .get('servers')
    .find(each => each.name === name)
    ?.privateIps.find(each => each.networkId === network?.id)?.ip
}

/** Single quotes hold everything but themselves in Compose's env files. */
const renderVariables = (variables: Readonly<Record<string, Secret>>): string =>
  Object.entries(variables)
    .map(([name, value]) => `${name}='${value.reveal().replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'\n`)
    .join('')

function compose(deps: PreviewDeps, { number, fork }: Verdict, live: Live, fetched: Readonly<Record<string, string>>) {
  const { spec } = deps
  const { file = 'absent', checkout = '' } = fetched
  const refusal = (why: string) => ({ state: 'refused', why: [why] }) as const
  if (file === 'absent') return refusal(`The commit has no file ${spec.composeFile}.`)
  if (file === 'large') return refusal(`${spec.composeFile} has more than 256 KiB.`)
  const address = spec.substrate === 'servers' ? privateAddress(deps, live, serverOf(deps, number)) : undefined
  if (spec.substrate === 'servers' && address === undefined)
    throw new Error('bug: the server of a preview has no private address')
  return renderPreviewCompose(Buffer.from(file, 'base64').toString('utf8'), {
    number,
    service: spec.service,
    port: spec.port,
    memoryMb: spec.memoryMb,
    checkout,
    folder: spec.composeFile.split('/').slice(0, -1).join('/'),
    ...(address === undefined ? {} : { publish: { address, port: PUBLISHED_PORT } }),
    variables: fork ? [] : Object.keys(deps.variables),
    host: previewHost(spec.domain, number),
  })
}

const digest = (text: string): string => createHash('sha256').update(text).digest('hex')

/** Leads visitors to what runs now. */
function writeEdge(deps: PreviewDeps, live: Live, signal: AbortSignal): Promise<void> {
  const { spec } = deps
  return deps.alone(async () => {
    const file = renderCaddyfile(spec.domain, waysIn(deps, live))
    if (readyOn(live, spec.host)?.caddyfile === digest(file) || !readyOn(live, spec.host)?.certificate) return
    await runProgram(deps, targetIn(deps, live, spec.host).target, 'preview-edge', { CADDYFILE: file, IMAGE: EDGE_IMAGE }, signal)
    updateReady(live, spec.host, state => ({ ...state, caddyfile: digest(file) }))
  })
}

/** The edge serves, and leads to the previews there are. Those that are deployed in this run add themselves. */
export function edgeStep(deps: PreviewDeps): EstateStep {
  const { spec } = deps
  return {
    id: 'preview edge',
    noun: 'preview',
    title: `*.${spec.domain} leads to the previews`,
    needs: [`preview host ${spec.host}`, 'preview certificate', 'previews gone'],
    reads: SLICES,
    look(world) {
      const ways = waysIn(deps, world)
      const change = {
        kind: 'change',
        summary: `lead *.${spec.domain} to ${ways.length === 1 ? 'one preview' : `${ways.length} previews`}`,
      } as const
      const state = readyOn(world, spec.host)
      if (!state?.certificate) return blocked('the certificate', change)
      if (state.caddyfile === digest(renderCaddyfile(spec.domain, ways))) return done(`${ways.length} previews`)
      return todo({ ...change, apply: ({ world: live, signal }) => writeEdge(deps, live, signal) })
    },
  }
}
