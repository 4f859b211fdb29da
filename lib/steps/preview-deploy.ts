/** A commit becomes a preview on its machine, and the edge leads visitors to what runs. */

import { createHash } from 'node:crypto'
import { blocked, done, todo } from '../engine/step.ts'
import { previewHost } from '../estate/previews.ts'
import { renderPreviewCompose, renderVariables } from '../preview/compose-file.ts'
import type { Verdict } from '../preview/desired.ts'
import { renderCaddyfile } from '../preview/edge.ts'
import { Secret } from '../secret.ts'
import type { EstateStep } from './deps.ts'
import { parseFactLines, runProgram } from './machine.ts'
import {
  type Live,
  PREVIEW_SLICES,
  type PreviewDeps,
  PUBLISHED_PORT,
  readyOn,
  serverOf,
  targetIn,
  updateReady,
  type View,
  waysIn,
} from './preview-kit.ts'
import type { PreviewRun, PreviewsState } from './preview-world.ts'
import type { EstateWorld } from './world.ts'

const DEPLOY_LIMIT_S = 600
export const EDGE_IMAGE = 'caddy:2.10.2'

export async function deploy(
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
            SERVICE: spec.service,
            PORT: String(spec.port),
            VARIABLES: new Secret('preview variables', renderVariables(verdict.fork ? {} : revealed(deps.variables)), 'unlisted'),
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
  await writeEdge(deps, live, signal, { server: name, run })
  // What the machine wrote down about a failure is told in the comment.
  if (state === 'failed') {
    live.touch('previews')
    await live.look(['previews'])
  }
}

const privateAddress = ({ estate }: PreviewDeps, live: Live, name: string): string | undefined => {
  const network = live.get('networks').find(each => each.name === estate.network?.name)
  return live
    .get('servers')
    .find(each => each.name === name)
    ?.privateIps.find(each => each.networkId === network?.id)?.ip
}

const revealed = (variables: Readonly<Record<string, Secret>>): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(variables).map(([name, value]) => [name, value.reveal()]))

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

type Ready = Extract<PreviewsState, { state: 'ready' }>

interface Fresh {
  readonly server: string
  readonly run: PreviewRun
}

const withRun =
  (run: PreviewRun) =>
  (state: Ready): Ready => ({ ...state, runs: [...state.runs.filter(each => each.number !== run.number), run] })

/** The world in which `fresh` is known to run. */
const seenWith = (live: Live, { server, run }: Fresh): View => {
  const state = readyOn(live, server)
  const previews = state ? { ...live.get('previews'), [server]: withRun(run)(state) } : live.get('previews')
  return { get: slice => (slice === 'previews' ? (previews as EstateWorld[typeof slice]) : live.get(slice)) }
}

/**
 * Leads visitors to what runs now, and to `fresh`, which the world learns of together with the edge's file: nobody sees one without the
 * other and takes the edge for wrong.
 */
function writeEdge(deps: PreviewDeps, live: Live, signal: AbortSignal, fresh?: Fresh): Promise<void> {
  const { spec } = deps
  return deps.alone(async () => {
    const file = renderCaddyfile(spec.domain, waysIn(deps, fresh ? seenWith(live, fresh) : live))
    const edge = readyOn(live, spec.host)
    const isDue = edge?.certificate !== undefined && edge.caddyfile !== digest(file)
    let caddyfile = edge?.caddyfile ?? 'none'
    try {
      if (isDue) {
        await runProgram(
          deps,
          targetIn(deps, live, spec.host).target,
          'preview-edge',
          { CADDYFILE: file, IMAGE: EDGE_IMAGE },
          signal,
        )
        caddyfile = digest(file)
      }
    } finally {
      if (fresh) updateReady(live, fresh.server, withRun(fresh.run))
      updateReady(live, spec.host, state => ({ ...state, caddyfile }))
    }
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
    reads: PREVIEW_SLICES,
    look(world) {
      const ways = waysIn(deps, world)
      const change = { kind: 'change', summary: `lead *.${spec.domain} to the previews that run` } as const
      const state = readyOn(world, spec.host)
      if (!state?.certificate) return blocked('the certificate', change)
      if (state.caddyfile === digest(renderCaddyfile(spec.domain, ways))) return done(`${ways.length} previews`)
      return todo({ ...change, apply: ({ world: live, signal }) => writeEdge(deps, live, signal) })
    },
  }
}
