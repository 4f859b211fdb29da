/** The commands deploy and rollback, from the question to the summary. */

import { hasCode, LandfallError } from '../errors.ts'
import { flagValues, hasFlag, type Session } from '../script.ts'
import { envDiff, VERSION_VARIABLE } from '../steps/app-diff.ts'
import { commandLine } from '../view.ts'
import { goBack, listKept, runsAgain, wayBack } from './back.ts'
import { deploy, releaseNow, setUpOf, tellsVersion, versionFor } from './deploy.ts'
import { appendHistory, type Release, readHistory, releaseBefore, sameImages } from './history.ts'
import { waitPublic } from './public.ts'
import { type AppSession, alone, confirm, deployContext, driftOf, endWithoutChange, openApp, summarise } from './session.ts'
import { idsNow, staysUp, waitRolledOut } from './watch.ts'

const EXIT = { done: 0, failed: 1, planned: 2 } as const

/** The release that ran last and well: kept on the machine, else what runs now. */
async function lastGood(app: AppSession): Promise<Release | undefined> {
  const history = await readHistory(app.deps, app.target, app.app.name)
  const kept = history.findLast(each => each.event !== 'env')
  const now = await runsNow(app)
  // A push may have deployed since: what runs counts, and what is known of it.
  if (!now) return kept
  if (!kept || !sameImages(now, kept)) return { ...now, version: versionIn(app) ?? now.version }
  if (app.service.kind === 'compose') return { ...now, version: kept.version }
  return kept.image.includes('@sha256:') ? kept : { ...kept, image: now.image }
}

/** What the last deploy told the containers, for one that was not seen to its end. */
const versionIn = ({ service }: AppSession): string | undefined =>
  service.env.find(([name]) => name === VERSION_VARIABLE)?.[1].reveal()

/** Dokploy goes on by itself when nobody watches any more. */
const interrupted = (error: unknown, { signal }: Pick<Session, 'signal'>, name: string, command: string): unknown =>
  signal.aborted || hasCode(error, 'cancelled')
    ? new LandfallError('cancelled', `Interrupted: what Dokploy was told about ${name} goes on there, but nobody watches it.`, {
        cause: error,
        hint: `Do it again and see it to its end: ${command}`,
      })
    : error

const runsNow = (app: AppSession): Promise<Release | undefined> =>
  releaseNow(deployContext(app, 'inside'), app.service, { version: 'the one before', event: 'deploy', deploymentId: '' })

/** Whether a deploy would bring about what is there: the same version, made from the same, running still. */
async function runsAlready(app: AppSession, version: string): Promise<boolean> {
  const last = (await readHistory(app.deps, app.target, app.app.name)).findLast(each => each.event !== 'env')
  if (last?.version !== version || last.setUp !== setUpOf(app.service)) return false
  const now = await runsNow(app)
  return now !== undefined && sameImages(now, last)
}

export async function runDeploy(session: Session): Promise<number> {
  const app = await openApp(session)
  const { name } = app.app
  const drift = driftOf(app)
  if (drift.length > 0 && !hasFlag(session, 'as-is'))
    throw new LandfallError(
      'refused',
      [`${name} is not set up as config.json says:`, ...drift.map(line => `  ${line}`)].join('\n'),
      {
        hint: `bun scripts/app.ts ${name}   (or deploy what is there: --as-is)`,
      },
    )
  const [said] = flagValues(session, 'version')
  const { runId } = app.opened.composition
  const context = deployContext(app, hasFlag(session, 'inside-only') ? 'inside' : 'outside')
  const known = tellsVersion(app.app) || app.app.source.kind === 'image'
  const version = known ? versionFor(app.app, said, runId) : 'what its source holds'
  if (known && !hasFlag(session, 'again') && (await runsAlready(app, version))) {
    session.reporter.page(`${name} runs ${version} already, with the same settings and variables. To deploy it again: --again`, {
      deploy: name,
      version,
    })
    await endWithoutChange(app, { version })
    return EXIT.done
  }
  if (session.args.plan) {
    session.reporter.page(`Would deploy ${version} of ${name} on ${app.app.server}.`, { deploy: name, version })
    summarise(app, { ok: true, changes: 1, applied: 0 })
    return EXIT.planned
  }
  await confirm(session, `Deploy ${version} of ${name} on ${app.app.server}?`)
  const result = await alone(app, async () => deploy(context, app.app, app.service, await lastGood(app), said)).catch(
    (error: unknown) => {
      throw interrupted(error, session, name, commandLine(session))
    },
  )
  if (result.state === 'failed') {
    session.reporter.error(result.error)
    summarise(app, { ok: false, changes: 1, applied: 0, outputs: { cause: result.cause, before: result.before } })
    return EXIT.failed
  }
  summarise(app, {
    ok: true,
    changes: 1,
    applied: 1,
    outputs: { version: result.version, ...(result.urls[0] ? { url: result.urls[0] } : {}) },
    notes: [
      ...result.notes,
      ...(app.app.version
        ? []
        : [
            {
              label: 'version',
              text: `${name} does not show its version: seen was only that it answers. apps.${name}.version says where to look.`,
            },
          ]),
      { label: 'undo', text: `bun scripts/rollback.ts ${name}` },
    ],
  })
  return EXIT.done
}

/** The releases of an app, newest first, without what is in their variables. */
async function showReleases(app: AppSession, history: readonly Release[]): Promise<number> {
  const kept = await listKept(app.api, app.service)
  const rows = history.toReversed().map(each => {
    const way = wayBack(app.service, each, kept)
    const how = way.kind === 'none' ? `no way back: ${way.why}` : WAYS[way.kind]
    return { version: each.version, at: each.at, by: each.by, event: each.event, variables: each.env.length, back: how }
  })
  const text = rows.map(
    row =>
      `${row.at.slice(0, 19).replace('T', ' ')}  ${row.version}  (${row.event} by ${row.by}, ${row.variables} variables; ${row.back})`,
  )
  app.session.reporter.page(text.length > 0 ? text.join('\n') : `No release of ${app.app.name} is kept yet.`, { releases: rows })
  return EXIT.done
}

const WAYS = {
  registry: "from Dokploy's registry",
  digest: 'by its digest',
  machine: 'while its image lies on the machine',
  compose: 'file, images and variables together',
} as const

export async function runRollback(session: Session): Promise<number> {
  const app = await openApp(session)
  const { name } = app.app
  const history = (await readHistory(app.deps, app.target, name)).filter(each => each.event !== 'env')
  if (session.args.action === 'list') return showReleases(app, history)
  const [wanted] = flagValues(session, 'to')
  const release = wanted === undefined ? releaseBefore(history) : history.findLast(each => each.version === wanted)
  if (!release)
    throw new LandfallError(
      'not_found',
      wanted === undefined ? `No release of ${name} before the present one is kept.` : `No release ${wanted} of ${name} is kept.`,
      { hint: `bun scripts/rollback.ts list ${name}` },
    )
  const context = deployContext(app, hasFlag(session, 'inside-only') ? 'inside' : 'outside')
  const now = history.at(-1) === release ? await runsNow(app) : undefined
  if (now && sameImages(now, release) && envDiff(now.env, release.env).length === 0) {
    session.reporter.page(`${name} runs ${release.version} already, with its variables.`, {
      rollback: name,
      version: release.version,
    })
    await endWithoutChange(app, { version: release.version })
    return EXIT.done
  }
  const way = wayBack(app.service, release, await listKept(app.api, app.service))
  if (way.kind === 'none')
    throw new LandfallError('refused', `${name} cannot go back to ${release.version}: ${way.why}.`, {
      hint: `bun scripts/rollback.ts list ${name}`,
    })
  const says = `${name} back to ${release.version} of ${release.at.slice(0, 16).replace('T', ' ')} (${WAYS[way.kind]}, with its ${release.env.length} variables)`
  if (session.args.plan) {
    session.reporter.page(`Would bring ${says}.`, { rollback: name, version: release.version })
    summarise(app, { ok: true, changes: 1, applied: 0 })
    return EXIT.planned
  }
  await confirm(session, `Bring ${says}?`)
  return alone(app, async () => {
    const before = await idsNow(app.api, app.service)
    const taken = await goBack(context, app.app, app.service, release)
    const rollout = await waitRolledOut(context, app.service, before)
    const stable = rollout.state === 'up' ? await staysUp(context, app.service, before, rollout.ids) : rollout
    const seen =
      stable.state === 'up' && context.look === 'outside' && app.app.domains.length > 0
        ? await waitPublic(context, app.app, app.server, tellsVersion(app.app) ? release.version : undefined)
        : undefined
    const runs = stable.state === 'up' && (await runsAgain(app.api, stable.ids, taken, release))
    if (stable.state === 'failed' || seen?.state === 'unseen' || !runs) {
      const why =
        stable.state === 'failed'
          ? (stable.errors[0] ?? 'its containers do not stay')
          : seen?.state === 'unseen'
            ? seen.why
            : 'what runs now is another image'
      session.reporter.error(
        new LandfallError('unhealthy', `${name} did not come back to ${release.version}: ${why}.`, {
          hint: `bun scripts/rollback.ts list ${name}`,
        }),
      )
      summarise(app, { ok: false, changes: 1, applied: 0 })
      return EXIT.failed
    }
    await appendHistory(app.deps, app.target, name, {
      ...release,
      at: new Date(app.deps.clock.nowMs()).toISOString(),
      by: context.who,
      event: 'rollback',
    })
    summarise(app, {
      ok: true,
      changes: 1,
      applied: 1,
      outputs: { version: release.version },
      notes: [
        {
          label: 'config',
          text: 'config.json and its env file were not touched: until they agree, app.ts --plan shows the difference.',
        },
      ],
    })
    return EXIT.done
  })
}
