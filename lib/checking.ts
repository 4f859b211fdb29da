/** The checklist's commands: look with every probe, ask for the rest, keep, export, serve. */

import { writeFile } from 'node:fs/promises'
import { openApps } from './apps/open.ts'
import { ITEMS, type Item, PHASES } from './checklist/items.ts'
import { PROBES, type ProbeContext } from './checklist/probes.ts'
import {
  type Answer,
  type Answers,
  isSettled,
  merge,
  progressOf,
  readAnswers,
  toAnswer,
  writeAnswers,
} from './checklist/record.ts'
import { renderMarkdown, renderText } from './checklist/render.ts'
import { describeHost } from './compose.ts'
import { openMoveStore, readMoves } from './cutover/store.ts'
import { World } from './engine/world.ts'
import { hasCode, LandfallError } from './errors.ts'
import { openWaits } from './moving.ts'
import { flagValues, type Opened, type Session } from './script.ts'
import type { EstateWorld } from './steps/world.ts'

export const CHECKLIST_FLAGS = [
  { name: 'phase', value: 'PHASE', about: `only one part: ${PHASES.join(', ')}` },
  {
    name: 'answer',
    value: 'ID=TEXT',
    many: true,
    about: 'what you know about an item: ID=yes, ID=no or ID=not_needed, with ":why" after it',
  },
  { name: 'export', value: 'FILE', about: 'write it as Markdown ("-": print it)' },
  { name: 'serve', value: 'PORT', about: 'a live page on this machine (0: any free port)' },
] as const

const SLICES = ['servers', 'firewalls', 'panels', 'apps', 'hooks'] as const satisfies readonly (keyof EstateWorld)[]
/** How often the served page's probes look again. */
const RELOOK_MS = 30_000

export async function walkChecklist(session: Session, opened: Opened): Promise<number> {
  const items = chooseItems(session)
  const { directory, estate, composition } = opened
  const { clock } = composition.deps
  const who = describeHost().who
  let answers = await readAnswers(directory)
  const keep = async (id: string, answer: Answer) => {
    answers = { ...answers, [id]: answer }
    if (!session.args.plan) await writeAnswers(directory, answers)
  }
  const look = async () => {
    for (const [id, seen] of Object.entries(await probeAll(session, opened, items)))
      await keepQuietly(id, merge(answers[id], seen))
    if (!session.args.plan) await writeAnswers(directory, answers)
  }
  const keepQuietly = async (id: string, answer: Answer) => {
    answers = { ...answers, [id]: answer }
  }
  const given = parseAnswers(flagValues(session, 'answer'), items, who, clock.nowMs())
  for (const [id, answer] of given) await keep(id, answer)
  await look()
  for (const [id, { state }] of given) {
    const kept = answers[id]
    if (kept && kept.state !== state)
      session.reporter.warning(`${id} is not kept as "${state}", because a probe sees otherwise: ${kept.evidence}`)
  }

  const [port] = flagValues(session, 'serve')
  if (port !== undefined) return serve(session, opened, { items, who, port: parsePort(port), answers: () => answers, keep, look })
  if (session.interactive) await askOpen(session, items, () => answers, keep, who, clock.nowMs)
  const [file] = flagValues(session, 'export')
  if (file !== undefined) {
    const markdown = renderMarkdown(items, answers, estate.name, clock.nowMs())
    if (file === '-') session.reporter.page(markdown, { markdown })
    else await writeFile(file, markdown)
  }
  const progress = progressOf(items, answers)
  if (file !== '-') session.reporter.page(renderText(items, answers), { ...progress, items: dataOf(items, answers) })
  return progress.settled === items.length ? 0 : 2
}

const dataOf = (items: readonly Item[], answers: Answers) =>
  items.map(({ id, phase, text, check }) => ({ id, phase, text, by: check.by, ...(answers[id] ? { answer: answers[id] } : {}) }))

function chooseItems(session: Session): readonly Item[] {
  const [phase] = flagValues(session, 'phase')
  if (phase === undefined) return ITEMS
  if (!PHASES.some(each => each === phase))
    throw new LandfallError('usage', `There is no phase "${phase}".`, { hint: `It is one of: ${PHASES.join(', ')}.` })
  return ITEMS.filter(item => item.phase === phase)
}

const parsePort = (text: string): number => {
  const port = Number(text)
  if (Number.isInteger(port) && port >= 0 && port <= 65_535) return port
  throw new LandfallError('usage', '--serve wants a port from 0 to 65535.')
}

function parseAnswers(given: readonly string[], items: readonly Item[], who: string, nowMs: number): [string, Answer][] {
  return given.map(text => {
    const match = /^([a-z-]+)=(yes|no|not_needed)(?::([\s\S]*))?$/.exec(text)
    const item = items.find(each => each.id === match?.[1])
    const state = (['yes', 'no', 'not_needed'] as const).find(each => each === match?.[2])
    if (!item || !state)
      throw new LandfallError('usage', `"${text}" answers no item.`, {
        hint: `For example: --answer post-team=yes:"told on Monday"; ids are in: bun scripts/checklist.ts --json`,
      })
    return [item.id, toAnswer(state, match?.[3] ?? 'as the operator says', who, nowMs)]
  })
}

/** Every probe once. What can not be looked at is unknown, with the reason, and the others go on. */
async function probeAll(session: Session, opened: Opened, items: readonly Item[]): Promise<Answers> {
  const { composition, estate, directory } = opened
  const { outside } = composition.deps
  const nowMs = (await openWaits(opened)).nowMs()
  const view = openApps({ ...session, args: { ...session.args, names: [] } }, opened).opened
  const world = new World<EstateWorld>(view.composition.readers)
  const unread = new Map<string, string>()
  await Promise.all(
    SLICES.map(async slice => {
      try {
        await world.look([slice])
      } catch (error) {
        if (!(error instanceof LandfallError) || error.code === 'cancelled') throw error
        unread.set(slice, error.message)
      }
    }),
  )
  const known = <K extends (typeof SLICES)[number]>(slice: K, none: EstateWorld[K]): EstateWorld[K] =>
    world.has(slice) ? world.get(slice) : none
  const names = (estate.migration?.names ?? []).map(({ name }) => name)
  const moves = await readMoves(openMoveStore(directory), names)
  const context: ProbeContext = {
    estate,
    outside,
    nowMs,
    world: {
      servers: known('servers', []),
      firewalls: known('firewalls', []),
      panels: known('panels', {}),
      apps: known('apps', {}),
      hooks: known('hooks', {}),
      moves,
    },
  }
  const failure = [...unread.values()][0]
  const probed = await Promise.all(
    items.map(async (item): Promise<[string, Answer][]> => {
      if (item.check.by !== 'probe') return []
      try {
        const { state, evidence } = await PROBES[item.check.probe]({ ...context, ...(item.of ? { of: item.of } : {}) })
        const blind = state === 'no' && failure !== undefined && unread.has('servers')
        return [[item.id, toAnswer(blind ? 'unknown' : state, blind ? failure : evidence, 'probe', context.nowMs)]]
      } catch (error) {
        if (!(error instanceof LandfallError) || error.code === 'cancelled') throw error
        return [[item.id, toAnswer('unknown', error.message, 'probe', context.nowMs)]]
      }
    }),
  )
  return Object.fromEntries(probed.flat())
}

async function askOpen(
  session: Session,
  items: readonly Item[],
  answers: () => Answers,
  keep: (id: string, answer: Answer) => Promise<void>,
  who: string,
  nowMs: () => number,
): Promise<void> {
  const isAsked = (item: Item) =>
    (item.check.by === 'person' || answers()[item.id]?.state === 'unknown') && !isSettled(answers()[item.id])
  for (const item of items.filter(isAsked)) {
    const flag = `--answer ${item.id}=`
    const question = item.check.by === 'person' ? item.check.question : (answers()[item.id]?.evidence ?? '')
    const state = await session.ask.select({
      flag,
      message: `${item.text}. ${question}`,
      choices: [
        { value: 'later', name: 'later' },
        { value: 'yes', name: 'yes' },
        { value: 'no', name: 'no' },
        { value: 'not_needed', name: 'not needed here' },
      ],
      default: 'later',
    })
    if (state === 'later') continue
    const evidence = await session.ask.text({ flag, message: 'How is it known? (for whoever reads this later)', default: 'seen' })
    await keep(item.id, toAnswer(state, evidence, who, nowMs()))
  }
}

interface Serving {
  readonly items: readonly Item[]
  readonly who: string
  readonly port: number
  readonly answers: () => Answers
  readonly keep: (id: string, answer: Answer) => Promise<void>
  readonly look: () => Promise<void>
}

/** Until interrupted. */
async function serve(
  session: Session,
  { estate, composition }: Opened,
  { items, who, port, answers, keep, look }: Serving,
): Promise<number> {
  const { serveChecklist } = await import('./checklist/serve.ts')
  const { clock } = composition.deps
  const served = serveChecklist({ port, estate: estate.name, items, who, nowMs: clock.nowMs, answers, save: keep })
  session.reporter.page(`The checklist is at ${served.url} until you press Ctrl-C.`, { url: served.url })
  try {
    for (;;) {
      await clock.sleep(RELOOK_MS, session.signal)
      await look()
    }
  } catch (error) {
    if (hasCode(error, 'cancelled')) return 0
    throw error
  } finally {
    await served.close()
  }
}
