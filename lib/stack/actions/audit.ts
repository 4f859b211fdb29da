/** `stack.ts audit`: gathers a stack's files, holds the rules against them, and writes what follows from the text alone. */

import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { writeFileAtomic } from '../../engine/files.ts'
import { hasCode, LandfallError } from '../../errors.ts'
import { flagValues, hasFlag, type Session } from '../../script.ts'
import { commandLine } from '../../view.ts'
import { audit, correctedServices } from '../audit.ts'
import { mentionedVariables, parseComposeFile } from '../compose-file.ts'
import type { StackConfig } from '../config.ts'
import type { Edit, Finding } from '../finding.ts'
import { parseAddress, parseNginx, walk } from '../nginx.ts'
import { applyLineEdits, renderPatch } from '../patch.ts'
import { parseResolved } from '../resolved.ts'
import type { AuditInput } from '../rule.ts'
import { workflowServices } from '../rules-workflow.ts'
import { type OpenedStack, openHosts, stackDirectory } from './open.ts'

const PATCH_FILE = 'stack-audit.patch'

/** Runs the audit and answers with the exit code: 0 without errors. */
export async function runAudit(session: Session, opened: OpenedStack): Promise<number> {
  const { reporter } = session
  const input = await gather(session, opened, true)
  const findings = audit(input)
  const errors = findings.filter(({ level }) => level === 'error').length
  for (const finding of findings) show(session, finding)
  const notes = hasFlag(session, 'fix') ? await fix(opened, input, findings) : []
  const counts = `${errors} ${errors === 1 ? 'error' : 'errors'}, ${findings.length - errors} ${findings.length - errors === 1 ? 'warning' : 'warnings'}`
  const subject = `${opened.shown(opened.composePath)} (${opened.environment.name}), ${Object.keys(input.compose.services).length} services`
  if (findings.length === 0) reporter.page(`Nothing found in ${subject}.`, { message: `Nothing found in ${subject}.` })
  reporter.summary({
    ok: errors === 0,
    title: findings.length === 0 ? 'Nothing to correct.' : `${counts}.`,
    changes: 0,
    applied: 0,
    durationMs: session.elapsedMs(),
    requests: {},
    outputs: { errors: String(errors), warnings: String(findings.length - errors), services: input.stack.services.join(',') },
    notes: [{ label: 'audited', text: subject }, ...notes],
    ...(findings.length > 0 && !hasFlag(session, 'fix')
      ? { next: 'Correct what follows from the text alone: the same command with --fix' }
      : {}),
    simulated: [],
  })
  return errors === 0 ? 0 : 1
}

function show({ reporter }: Session, finding: Finding): void {
  const { rule, level, file, line, says, fix: cure, edits } = finding
  reporter.page(`${file}:${line}: ${level}: ${says} [${rule}]\n    → ${cure}`, {
    finding: { rule, level, file, line, says, fix: cure, fixable: edits !== undefined },
    message: says,
  })
  reporter.annotate?.(level, `${says} ${cure}`, { file, line, title: `stack: ${rule}` })
}

/**
 * What keeps a deploy from beginning: errors whose rule was not accepted by name.
 * @throws LandfallError refused, with every place
 */
export async function refuseFaults(session: Session, opened: OpenedStack): Promise<void> {
  const { args } = session
  const input = await gather(session, opened, false)
  const errors = audit(input).filter(({ level, rule }) => level === 'error' && !args.confirm.includes(rule))
  const [first] = errors
  if (!first) return
  const lines = errors.slice(0, MAX_SHOWN).map(({ file, line, says, rule }) => `  ${file}:${line}: ${says} [${rule}]`)
  const rest = errors.length > MAX_SHOWN ? [`  … and ${errors.length - MAX_SHOWN} more`] : []
  const count = errors.length === 1 ? 'a fault' : `${errors.length} faults`
  throw new LandfallError('refused', [`Nothing was changed: the stack has ${count}.`, ...lines, ...rest].join('\n'), {
    hint: `How to correct each: ${commandLine({ ...session, args: { ...args, action: 'audit', names: [], plan: false } })}. To go on in spite of one: --confirm ${first.rule}`,
  })
}

const MAX_SHOWN = 20

/** Reads everything that the rules look at. */
async function gather(session: Session, opened: OpenedStack, asks: boolean): Promise<AuditInput> {
  const { environment, base, composePath, shown } = opened
  const file = shown(composePath)
  const text = existsSync(composePath) ? readFileSync(composePath, 'utf8') : missing(file)
  const compose = parseComposeFile(file, text)
  const nginx = opened.nginxFiles.map(({ path, text: source }) => ({
    file: shown(path),
    text: source,
    parsed: parseNginx(source),
  }))
  const stack = withGuessedServices(opened.stack, compose, nginx)
  const [workflowFlag] = flagValues(session, 'workflow')
  const workflowPath = workflowFlag ?? (stack.workflow === undefined ? undefined : resolve(base, stack.workflow))
  const workflow =
    workflowPath === undefined
      ? undefined
      : {
          file: shown(resolve(workflowPath)),
          text: existsSync(workflowPath) ? readFileSync(workflowPath, 'utf8') : missing(workflowPath),
        }
  const folder = dirname(composePath)
  // Secrets and env files of a host behind SSH lie there, not here.
  const isHere = environment.on === 'local'
  const asked =
    asks && isHere && text !== '' && statSync(composePath).size < ASK_LIMIT_BYTES ? await askCompose(session, opened) : undefined
  return {
    stack,
    environment: environment.name,
    compose,
    // What the host's env file has is not known here; Compose says it there, before anything changes.
    variables: new Set([...Object.keys(opened.variables), ...opened.envFileNames, ...(isHere ? [] : mentionedVariables(text))]),
    exists: path => !isHere || existsSync(isAbsolute(path) ? path : join(folder, path)),
    nginx,
    ...(workflow === undefined ? {} : { workflow }),
    ...(asked === undefined ? {} : { asked }),
  }
}

/** Compose is asked about files that a person wrote; a generated giant would only cost time. */
const ASK_LIMIT_BYTES = 2 * 1024 * 1024

function missing(file: string): never {
  throw new LandfallError('config', `There is no ${file}.`, {
    hint: 'Name the right file: --file PATH, or "file" in the stack’s environment.',
  })
}

/** What Compose itself makes of the file; nothing where there is no Docker. */
async function askCompose(session: Session, opened: OpenedStack): Promise<AuditInput['asked']> {
  const { hosts, close } = await openHosts(session, opened)
  try {
    const [host] = hosts
    if (!host) return undefined
    const resolved = parseResolved(await host.docker.resolve(host.variables, session.signal), opened.stack.project)
    return { services: Object.keys(resolved.services) }
  } catch (error) {
    if (hasCode(error, 'config') && /Compose does not accept/.test(error.message)) return { refused: error.message }
    if (hasCode(error, 'config', 'not_found', 'vendor')) return undefined
    throw error
  } finally {
    await close()
  }
}

/** Without a configuration, what the proxy leads to is what is rolled. */
function withGuessedServices(stack: StackConfig, compose: AuditInput['compose'], nginx: AuditInput['nginx']): StackConfig {
  if (stack.services.length > 0) return stack
  const proxy =
    Object.keys(compose.services).find(name => name === 'nginx') ??
    Object.values(compose.services).find(({ image }) => /nginx/.test(image ?? ''))?.name ??
    'nginx'
  const hosts = nginx.flatMap(({ parsed }) =>
    [...walk(parsed.directives)].flatMap(({ directive, path }) => {
      const target =
        directive.name === 'proxy_pass'
          ? directive.args[0]?.text.replace(/^https?:\/\//, '').replace(/\/.*$/, '')
          : directive.name === 'server' && path.at(-1)?.name === 'upstream'
            ? directive.args[0]?.text
            : undefined
      return target === undefined ? [] : (parseAddress(target)?.host ?? [])
    }),
  )
  const served = [...new Set(hosts)].filter(name => name in compose.services && name !== proxy)
  const draft = { ...stack, services: [...served, proxy], nginx: { ...stack.nginx, service: proxy } }
  return { ...draft, services: correctedServices({ stack: draft, compose }) }
}

/** Writes the corrected list where it stands, and the rest as a patch beside the working directory. */
async function fix(
  opened: OpenedStack,
  input: AuditInput,
  findings: readonly Finding[],
): Promise<{ label: string; text: string }[]> {
  const notes: { label: string; text: string }[] = []
  const services = correctedServices(input)
  const { source } = opened.stack
  if (source !== undefined && services.join() !== opened.stack.services.join()) {
    const text = readFileSync(source, 'utf8')
    const corrected = replaceServices(text, opened.stack.services, services)
    if (corrected !== undefined) {
      await writeFileAtomic(source, corrected, statSync(source).mode & 0o777)
      notes.push({ label: 'corrected', text: `"services" in ${source}: ${services.join(', ')}` })
    }
  } else if (source === undefined) {
    notes.push({ label: 'service list', text: `SERVICES="${services.join(',')}"` })
  }
  const workflow = input.workflow
  const wanted = services.join(',')
  // A list may be a word that stands elsewhere too, so only its own line changes.
  const edits = (workflow ? workflowServices(workflow.text) : []).flatMap(({ raw, line }): Edit[] => {
    const source = workflow?.text.split('\n')[line - 1] ?? ''
    return raw === wanted ? [] : [{ file: workflow?.file ?? '', line, remove: 1, insert: [source.replace(raw, wanted)] }]
  })
  if (workflow && edits.length > 0) {
    await writeFileAtomic(workflow.file, applyLineEdits(workflow.text, edits), statSync(workflow.file).mode & 0o777)
    notes.push({ label: 'corrected', text: `SERVICES in ${workflow.file}: ${wanted}` })
  }
  const rest = findings.filter(({ rule }) => rule !== 'workflow-services')
  const patch = renderPatch(rest, file => (existsSync(file) ? readFileSync(file, 'utf8') : undefined))
  if (patch !== '') {
    mkdirSync(stackDirectory(opened), { recursive: true, mode: 0o700 })
    await writeFileAtomic(PATCH_FILE, patch, 0o644)
    notes.push({ label: 'patch', text: `${PATCH_FILE}; read it, then: git apply ${PATCH_FILE}` })
  }
  const open = findings.filter(
    finding =>
      finding.level === 'error' && finding.edits === undefined && !/service|proxy|order|twice|stateful/.test(finding.rule),
  ).length
  if (open > 0) notes.push({ label: 'by hand', text: `${open} that need a decision` })
  return notes
}

/** The list in the configuration's text, with its own line breaks gone; undefined when it does not stand there once. */
function replaceServices(text: string, from: readonly string[], to: readonly string[]): string | undefined {
  const words = from.map(name => JSON.stringify(name).replace(/[.*+?^${}()|[\]\\]/g, '\\$&')).join('\\s*,\\s*')
  const pattern = new RegExp(`("services"\\s*:\\s*)\\[\\s*${words}\\s*\\]`)
  return pattern.test(text) ? text.replace(pattern, `$1[${to.map(name => JSON.stringify(name)).join(', ')}]`) : undefined
}
