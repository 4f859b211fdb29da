/** What `preview.ts` does besides making previews so: lists, logs, one look for an event, a receiver for many. */

import { hasCode, LandfallError } from './errors.ts'
import { previewHost, previewServerName } from './estate/previews.ts'
import { coalesce, receiveWebhooks } from './preview/webhook.ts'
import { convergePreviews, lookAtPreviews, numbersIn, openPreviews } from './previews.ts'
import { flagValues, type Opened, type Session } from './script.ts'
import { Secret } from './secret.ts'
import { runProgram, targetOf } from './steps/machine.ts'
import { costSoFar } from './steps/preview-comment.ts'
import { findServer } from './steps/server.ts'

const iso = (ms: number): string => new Date(ms).toISOString().slice(0, 16).replace('T', ' ')

/** Every pull request that has or wants a preview, and how it stands. */
export async function listPreviews(session: Session, opened: Opened): Promise<number> {
  const previews = await openPreviews(opened)
  const { spec } = previews
  const { world, verdicts, ...found } = await lookAtPreviews(previews)
  const runs = [...found.runs, ...found.strays]
  const numbers = [...new Set([...verdicts.map(each => each.number), ...runs.map(each => each.number)])].sort((a, b) => a - b)
  const rows = numbers.map(number => {
    const verdict = verdicts.find(each => each.number === number)
    const run = runs.find(each => each.number === number)
    const cost = costSoFar({ estate: opened.estate, spec }, world, number)
    return {
      number,
      standing: verdict?.standing ?? 'unknown',
      ...(verdict?.queue === undefined ? {} : { queue: verdict.queue }),
      state: run?.state ?? 'none',
      head: run?.head ?? verdict?.head ?? '',
      ...(run?.state === 'up' ? { url: `https://${previewHost(spec.domain, number)}` } : {}),
      ...(run && run.sinceMs > 0 ? { since: new Date(run.sinceMs).toISOString() } : {}),
      ...(verdict?.endsAtMs === undefined ? {} : { endsAt: new Date(verdict.endsAtMs).toISOString() }),
      ...(cost === undefined ? {} : { cost }),
    }
  })
  const lines = rows.flatMap(row => {
    const what = row.standing === 'queued' ? `queued at place ${row.queue}` : row.standing
    const first =
      `#${String(row.number).padEnd(6)} ${what.padEnd(12)} ${row.state.padEnd(8)} ${row.head.slice(0, 7).padEnd(7)}  ${row.url ?? ''}`.trimEnd()
    const more = [
      row.endsAt && row.state === 'up' ? `ends ${iso(Date.parse(row.endsAt))} UTC` : '',
      row.cost ? `cost ${row.cost}` : '',
    ].filter(each => each !== '')
    return more.length > 0 ? [first, `        ${more.join(', ')}`] : [first]
  })
  const up = runs.filter(each => each.state === 'up').length
  session.reporter.page(
    [`${spec.owner}/${spec.repository}: ${up} of at most ${spec.max} previews`, ...(lines.length > 0 ? ['', ...lines] : [])].join(
      '\n',
    ),
    {
      repository: `${spec.owner}/${spec.repository}`,
      max: spec.max,
      previews: rows,
    },
  )
  return 0
}

/** The last lines of a preview's deploy and of its containers. */
export async function showPreviewLogs(session: Session, opened: Opened): Promise<number> {
  const { spec } = await openPreviews(opened)
  const [number] = numbersIn(session.args.names)
  if (number === undefined)
    throw new LandfallError('usage', 'logs needs the number of a pull request.', {
      hint: 'For example: bun scripts/preview.ts logs 12',
    })
  const { deps } = opened.composition
  const name = spec.substrate === 'shared' ? spec.host : previewServerName(opened.estate.name, number)
  const server = findServer(opened.estate.name, name, await deps.cloud.listServers())
  const target = server && targetOf(opened.estate.name, server)
  const text = target ? await runProgram(deps, target, 'preview-logs', { NUMBER: String(number) }) : ''
  if (text.trim() === '')
    throw new LandfallError('not_found', `There is no preview of pull request ${number}.`, {
      hint: 'See what there is: bun scripts/preview.ts list',
    })
  session.reporter.page(text.trimEnd(), { number, text })
  return 0
}

const LOCK_PATIENCE_MS = 15 * 60_000
const LOCK_POLL_MS = 5_000

/** One look, whatever happened; waits for another run that is under way, because that one may have looked too early. */
export async function answerEvent(session: Session, opened: Opened): Promise<number> {
  const { clock } = opened.composition.deps
  const endsAtMs = clock.monotonicMs() + LOCK_PATIENCE_MS
  for (;;) {
    try {
      return await convergePreviews(session, opened)
    } catch (error) {
      if (!hasCode(error, 'locked') || clock.monotonicMs() > endsAtMs) throw error
      session.reporter.log(`${error.message} Waiting for it.`)
      await clock.sleep(LOCK_POLL_MS, session.signal)
    }
  }
}

const wholeNumber = (session: Session, flag: string, fallback: number, max: number): number => {
  const [given] = flagValues(session, flag)
  const value = given === undefined ? fallback : Number(given)
  if (!Number.isInteger(value) || value < 1 || value > max)
    throw new LandfallError('usage', `--${flag} takes a whole number from 1 to ${max}.`, {
      hint: 'bun scripts/preview.ts --help',
    })
  return value
}

/** Looks whenever GitHub says that something happened, and every so often without that; until it is interrupted. */
export async function serveWebhooks(session: Session, opened: Opened): Promise<number> {
  const { environment } = opened.composition.parts
  const { spec } = await openPreviews(opened)
  const given = environment.lookup('PREVIEW_WEBHOOK_SECRET')
  if (given === undefined || given.length < 16)
    throw new LandfallError('token_missing', 'PREVIEW_WEBHOOK_SECRET is not set, or has fewer than 16 characters.', {
      hint: 'Make one: openssl rand -hex 32  — set it here and as the secret of the webhook at GitHub, content type application/json.',
    })
  const { reporter, signal } = session
  const everyMs = wholeNumber(session, 'every', 60, 1_440) * 60_000
  const acting = { ...session, args: { ...session.args, yes: true } }
  const looks = coalesce(async () => {
    if (signal.aborted) return
    try {
      await answerEvent(acting, opened)
    } catch (error) {
      // The next delivery, or the clock, tries again.
      if (!signal.aborted) reporter.error(error)
    }
  })
  const receiver = receiveWebhooks({
    port: wholeNumber(session, 'port', 8098, 65_535),
    hostname: flagValues(session, 'listen')[0] ?? '127.0.0.1',
    secret: new Secret('PREVIEW_WEBHOOK_SECRET', given),
    onDelivery({ event, id }) {
      reporter.log(`${event} ${id.replace(/[^\w-]/g, '').slice(0, 40)}`)
      looks.notice()
    },
  })
  reporter.page(
    [
      `Listening at ${receiver.url} until Ctrl-C; put TLS in front of it, and name it at`,
      `https://github.com/${spec.owner}/${spec.repository}/settings/hooks for pull requests and issue comments.`,
    ].join('\n'),
    { webhook: receiver.url },
  )
  const timer = setInterval(looks.notice, everyMs)
  try {
    looks.notice()
    if (!signal.aborted) await new Promise<void>(resolve => signal.addEventListener('abort', () => resolve(), { once: true }))
    return 130
  } finally {
    clearInterval(timer)
    await receiver.close()
    await looks.idle()
  }
}
