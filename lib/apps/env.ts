/** Variables of an app: pushed from its file, pulled, compared by name, their former states kept on the server, imported from Vercel. */

import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { removeTorn, writeFileAtomic } from '../engine/files.ts'
import { LandfallError } from '../errors.ts'
import { didYouMean, quoted } from '../estate/words.ts'
import { parseEnv } from '../providers/dokploy/dotenv.ts'
import type { EnvSet } from '../providers/ports/dokploy-apps.ts'
import type { Vercel, VercelProject, VercelVariable } from '../providers/ports/vercel.ts'
import { flagValues, hasFlag, type Opened, type Session } from '../script.ts'
import { desiredEnv, envDiff } from '../steps/app-diff.ts'
import { renderEnvFile, unfilledIn } from './env-file.ts'
import { appendHistory, readHistory } from './history.ts'
import { placeBeside } from './inputs.ts'
import { type AppSession, alone, confirm, endWithoutChange, openApp, summarise } from './session.ts'

const EXIT = { done: 0, planned: 2 } as const

const filePath = (app: AppSession): string => {
  const { envFile, name } = app.app
  if (envFile === undefined)
    throw new LandfallError('config', `apps.${name} has no env_file.`, {
      hint: `Add "env_file": ".env.${name}" to it in config.json.`,
    })
  return join(dirname(app.opened.configPath), envFile)
}

const placeOf = ({ configPath }: Pick<Opened, 'configPath'>, { name, envFile = '' }: AppSession['app']): string =>
  placeBeside(configPath, envFile, `apps.${name}.env_file:`)

/** Whole set in, as one text; what was there before is kept first. */
async function push(app: AppSession): Promise<number> {
  const { session, service, deps, api } = app
  const { name } = app.app
  const { env } = deps.inputOf(name)
  if (!env)
    throw new LandfallError('config', `apps.${name} has no env_file.`, {
      hint: `Add "env_file": ".env.${name}" to it in config.json.`,
    })
  const wanted = desiredEnv(env, service.env)
  const lines = envDiff(service.env, wanted)
  session.reporter.page(lines.length > 0 ? lines.join('\n') : `${name} has the variables of its file.`, {
    app: name,
    variables: lines,
  })
  if (lines.length === 0) {
    await endWithoutChange(app)
    return EXIT.done
  }
  if (session.args.plan) {
    summarise(app, { ok: true, changes: 1, applied: 0 })
    return EXIT.planned
  }
  await confirm(session, `Set ${lines.length} variables of ${name}?`)
  await alone(app, async () => {
    await appendHistory(deps, app.target, name, {
      version: `variables before ${app.opened.composition.runId}`,
      at: new Date(deps.clock.nowMs()).toISOString(),
      by: app.opened.composition.runId,
      event: 'env',
      image: '',
      imageId: '',
      services: {},
      env: service.env,
      setUp: '',
      deploymentId: '',
    })
    await api.setEnv({ kind: service.kind, id: service.id }, wanted)
    const back = await api.readService({ kind: service.kind, id: service.id })
    if (envDiff(back.env, wanted).length > 0)
      throw new LandfallError('unverified', `Dokploy took the variables of ${name}, but shows others.`, {
        hint: `bun scripts/env.ts diff ${name}`,
      })
  })
  summarise(app, { ok: true, changes: 1, applied: 1, next: `bun scripts/deploy.ts ${name}` })
  return EXIT.done
}

async function pull(app: AppSession): Promise<number> {
  const { session, service, opened } = app
  const path = filePath(app)
  const env = service.env.filter(([name]) => name !== 'DEPLOY_VERSION')
  const put = await putFile(session, placeOf(opened, app.app), {
    path,
    text: renderEnvFile(env, []),
    hint: 'Compare first: bun scripts/env.ts diff; or replace it: --overwrite',
  })
  const { name } = app.app
  const text = {
    same: `${path} has the variables of ${name}.`,
    written: `${env.length} variables of ${name} written to ${path}, readable by you alone.`,
    planned: [`${env.length} variables of ${name} would be written to ${path}:`, ...put.lines].join('\n'),
  }[put.state]
  session.reporter.page(text, { path, variables: env.map(([each]) => each), ...changesOf(put) })
  return put.state === 'planned' ? EXIT.planned : EXIT.done
}

interface Wish {
  /** As the operator knows it. */
  readonly path: string
  readonly text: string
  readonly hint: string
}

interface Put {
  readonly state: 'same' | 'planned' | 'written'
  /** What differs from the file that was there, by name. */
  readonly lines: readonly string[]
}

const changesOf = ({ state, lines }: Put) => (state === 'planned' ? { changes: lines } : {})

const textAt = (place: string): string | undefined => (existsSync(place) ? readFileSync(place, 'utf8') : undefined)

/**
 * Writes it where nothing is there, or something else and `--overwrite` is given; with `--plan` it only says what it would write.
 * @throws LandfallError refused
 */
async function putFile(session: Session, place: string, { path, text, hint }: Wish): Promise<Put> {
  const { plan } = session.args
  if (!plan) await removeTorn(place)
  const before = textAt(place)
  if (before === text) return { state: 'same', lines: [] }
  if (before !== undefined && !hasFlag(session, 'overwrite'))
    throw new LandfallError('refused', `${path} is there already.`, { hint })
  if (!plan) await writeFileAtomic(place, text, 0o600)
  return { state: plan ? 'planned' : 'written', lines: fileDiff(before ?? '', text) }
}

/** By name only. */
function fileDiff(before: string, after: string): readonly string[] {
  const had = unfilledIn(before)
  const lines = [
    ...envDiff(parseEnv(before), parseEnv(after)),
    ...unfilledIn(after).flatMap(name => (had.includes(name) ? [] : [`+ ${name}, to be filled in`])),
  ]
  return lines.length > 0 ? lines : ['the same values, without what else is in the file']
}

function diff(app: AppSession): number {
  const { env = [] } = app.deps.inputOf(app.app.name)
  const lines = envDiff(app.service.env, desiredEnv(env, app.service.env))
  app.session.reporter.page(
    lines.length > 0 ? [`+ only in the file, - only in Dokploy, ~ with another value:`, ...lines].join('\n') : 'No difference.',
    { app: app.app.name, variables: lines },
  )
  return lines.length > 0 ? EXIT.planned : EXIT.done
}

/** What changed from one kept state to the next, by name. */
async function history(app: AppSession): Promise<number> {
  const kept = await readHistory(app.deps, app.target, app.app.name)
  const states = [
    ...kept.map(each => ({ at: each.at, what: `${each.event} ${each.version}`, env: each.env })),
    { at: 'now', what: '', env: app.service.env },
  ]
  const lines = states.flatMap((state, index) => {
    const before = states[index - 1]
    const changed = before ? envDiff(before.env, state.env) : [`${state.env.length} variables`]
    return changed.length === 0
      ? []
      : [`${state.at.slice(0, 19).replace('T', ' ')}  ${state.what}`, ...changed.map(line => `    ${line}`)]
  })
  app.session.reporter.page(lines.length > 0 ? lines.join('\n') : 'Nothing is kept yet.', { app: app.app.name, history: lines })
  return EXIT.done
}

export async function runEnv(session: Session): Promise<number> {
  const { action } = session.args
  if (action === 'import') return importFromVercel(session)
  const app = await openApp(session, action === 'pull' ? 'without' : 'with')
  switch (action) {
    case 'pull':
      return pull(app)
    case 'diff':
      return diff(app)
    case 'history':
      return history(app)
    default:
      return push(app)
  }
}

// ── from Vercel ──

async function composeVercel({ composition }: Opened): Promise<Vercel> {
  const { context, environment } = composition.parts
  const { vercelToken: token, vercelEndpoint: endpoint, vercelTeamId: teamId } = environment
  if (!token)
    throw new LandfallError('token_missing', 'VERCEL_TOKEN is not set.', {
      hint: 'Make one at vercel.com → Settings → Tokens, then: export VERCEL_TOKEN=…  (for a team also VERCEL_TEAM_ID)',
    })
  const { createVercel } = await import('../providers/vercel/vercel.ts')
  return createVercel({ token, context, ...(endpoint ? { endpoint } : {}), ...(teamId ? { teamId } : {}) })
}

export interface ImportedVariables {
  readonly known: readonly VercelVariable[]
  /** Names whose values Vercel does not give. */
  readonly blank: readonly { readonly name: string; readonly why: 'sensitive' | 'empty' | 'encrypted' }[]
}

/** The variables of one target. One for a branch alone is no variable of the target. Pure. */
export function pickVariables(all: readonly VercelVariable[], target: string): ImportedVariables {
  const mine = all.filter(each => each.targets.includes(target) && each.gitBranch === undefined)
  return {
    known: mine.filter(each => each.state === 'known'),
    blank: mine.flatMap(each => (each.state === 'blank' ? [{ name: each.name, why: each.why }] : [])),
  }
}

const choose = (projects: readonly VercelProject[], wanted: string | undefined): VercelProject => {
  const [only, ...more] = projects
  const found =
    wanted === undefined && more.length === 0 ? only : projects.find(each => each.name === wanted || each.id === wanted)
  if (found) return found
  const names = projects.map(each => each.name)
  throw new LandfallError(
    'usage',
    wanted === undefined
      ? 'Say which project of Vercel: --project NAME.'
      : `Vercel shows no project ${quoted(wanted)}${didYouMean(wanted, names) || '.'}`,
    {
      hint:
        names.length > 0 ? `The token sees: ${names.join(', ')}.` : 'The token sees no project; for a team set VERCEL_TEAM_ID.',
    },
  )
}

/** The names that came back blank, with the values that somebody has filled in beside the config: Vercel has no second copy of them. Pure. */
const keptFrom = (present: EnvSet, blank: ImportedVariables['blank']): EnvSet =>
  present.filter(([name]) => blank.some(each => each.name === name))

/** A target that nothing is of is a mistyped one; what it would write is an empty file. @throws LandfallError refused */
function refuseNothing(project: string, target: string, all: readonly VercelVariable[]): never {
  const targets = [...new Set(all.flatMap(each => (each.gitBranch === undefined ? each.targets : [])))].sort()
  throw new LandfallError('refused', `${project} has no variable of ${quoted(target)}${didYouMean(target, targets) || '.'}`, {
    hint:
      targets.length > 0
        ? `It has some of: ${targets.join(', ')}. Say which with --target.`
        : `It has none at all. What else it has: bun scripts/env.ts import --project ${project}`,
  })
}

/** Writes the env file of an app, and says what the project's names and settings are. Needs no server. */
async function importFromVercel(session: Session): Promise<number> {
  const opened = await session.open()
  const vercel = await composeVercel(opened)
  const project = choose(await vercel.listProjects(), flagValues(session, 'project')[0])
  const [wanted] = flagValues(session, 'target')
  const target = wanted ?? 'production'
  const [domains, variables] = await Promise.all([vercel.listDomains(project.id), vercel.listVariables(project.id)])
  const { known, blank } = pickVariables(variables, target)
  const [name] = session.args.names
  const app = opened.estate.platform?.apps.find(each => each.name === name)
  if (name !== undefined && app?.envFile === undefined)
    throw new LandfallError('config', `config.json has no app ${quoted(name)} with an env_file.`, {
      hint: 'Describe it first; or leave the name out, to look only.',
    })
  if (known.length + blank.length === 0 && (app || wanted !== undefined)) refuseNothing(project.name, target, variables)
  const place = app?.envFile === undefined ? undefined : placeOf(opened, app)
  const kept = place === undefined ? [] : keptFrom(parseEnv(textAt(place) ?? ''), blank)
  const isKept = (name: string) => kept.some(([each]) => each === name)
  const missing = blank.filter(each => !isKept(each.name))
  const lines = [
    `${project.name} at Vercel${project.repository ? `, from ${project.repository} (${project.productionBranch ?? 'main'})` : ''}${project.framework ? `, ${project.framework}` : ''}`,
    ...domains.map(domain => `  ${domain.name}${domain.redirect ? ` → redirects to ${domain.redirect}` : ''}`),
    `${known.length} variables of ${target} can be read, ${blank.length} cannot${blank.length > 0 ? ':' : '.'}`,
    ...blank.map(each => `  ${each.name} (${WHY[each.why]})${isKept(each.name) ? ', its value in the file is kept' : ''}`),
  ]
  const data = { project: project.name, domains: domains.map(each => each.name), known: known.map(each => each.name), blank }
  if (app?.envFile === undefined || place === undefined) {
    session.reporter.page(lines.join('\n'), data)
    return EXIT.done
  }
  const path = join(dirname(opened.configPath), app.envFile)
  const put = await putFile(session, place, {
    path,
    text: renderEnvFile(
      [...known.flatMap(each => (each.state === 'known' ? [[each.name, each.value] as const] : [])), ...kept],
      missing.map(each => each.name),
    ),
    hint: 'Move it away, or replace it: --overwrite; with --plan it says by name what that would change.',
  })
  const result = {
    same: [`${path} has them.`],
    written: [`Written to ${path}, readable by you alone.`],
    planned: [`Would be written to ${path}:`, ...put.lines],
  }[put.state]
  session.reporter.page([...lines, ...result].join('\n'), {
    ...data,
    kept: kept.map(([each]) => each),
    path,
    ...changesOf(put),
  })
  if (put.state === 'planned') return EXIT.planned
  if (missing.length > 0)
    session.reporter.warning(
      `${missing.length} values have to be filled in by hand in ${path}; until then neither app.ts nor a cutover goes on.`,
    )
  return EXIT.done
}

const WHY = {
  sensitive: 'sensitive: Vercel gives it to nobody',
  empty: 'comes back blank',
  encrypted: 'comes back encrypted',
} as const
