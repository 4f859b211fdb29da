/** Why a new version did not come up: which of port, path, variables or memory it looks like. Pure, so that each case is a line of a table. */

import type { AppSpec } from '../estate/apps.ts'

export type Cause =
  | 'build'
  | 'image'
  | 'memory'
  | 'env'
  | 'port'
  | 'path'
  | 'crash'
  | 'unhealthy'
  | 'outside'
  | 'hook'
  | 'unknown'

export interface Symptoms {
  readonly app: Pick<AppSpec, 'name' | 'port' | 'health' | 'domains'>
  /** What ended it: a build that failed, containers that did not stay, or a public address that did not answer. */
  readonly stage: 'build' | 'start' | 'outside'
  /** Last lines of the container, or of the build. */
  readonly log: readonly string[]
  readonly taskErrors: readonly string[]
  readonly oomKilled: boolean
  readonly exitCode?: number
  /** Health checks that failed in a row, and what the last one wrote. */
  readonly healthFailures?: number
  readonly healthOutput?: string
  /** What the public address answered. */
  readonly status?: number
  readonly outside?: 'unreachable' | 'wrong_answer'
  readonly outsideError?: string
  /** A name of the app that config.json moves here; it may lead elsewhere still. */
  readonly movingName?: string
}

export interface Diagnosis {
  readonly cause: Cause
  /** A sentence without a full stop. */
  readonly says: string
  readonly hint: string
}

const LISTENING = /(?:listening|running|started|serving|ready|local:?)\b[^\n]*?(?::|port\s+)(\d{2,5})\b/i
const MEMORY = /out of memory|heap limit|cannot allocate memory|\boom\b|MemoryError|\bKilled\b/i
const VARIABLE =
  /(?:environment variable|env(?:ironment)?(?: var)?)\s+["'`]?([A-Z][A-Z0-9_]{2,})|["'`]?\b([A-Z][A-Z0-9_]{2,})\b["'`]?\s+(?:is not (?:set|defined)|is (?:required|missing|undefined)|must be set)|KeyError:\s*["']([A-Z][A-Z0-9_]{2,})["']|Missing required (?:environment )?variables?:?\s+["'`]?([A-Z][A-Z0-9_]{2,})/i
const NOT_FOUND = /\b(?:GET|HEAD)\s+(\/\S*)\s+(?:HTTP\/\S+"?\s+)?404\b/
const NO_IMAGE = /manifest (?:for \S+ )?(?:unknown|not found)|pull access denied|No such image|not found: manifest/i
const NO_TOOL = /wget: not found|curl: not found|executable file not found in \$PATH.*(?:wget|curl|sh)/i

const find = (lines: readonly string[], pattern: RegExp): RegExpExecArray | undefined => {
  for (const line of lines.toReversed()) {
    const match = pattern.exec(line)
    if (match) return match
  }
  return undefined
}

/** Whether it ended because somebody stopped it, as Swarm does with what is unhealthy; not by itself. */
const wasStopped = (exitCode: number | undefined): boolean => exitCode === undefined || [0, 137, 143].includes(exitCode)

export function diagnose(symptoms: Symptoms): Diagnosis {
  const { app, log, taskErrors, stage, healthOutput = '', healthFailures = 0 } = symptoms
  const lines = [...log, ...taskErrors, healthOutput]
  // One that ends well when it is stopped leaves no error behind: then only its checks tell.
  const unhealthy = taskErrors.some(error => /unhealthy/i.test(error)) || (healthFailures > 0 && wasStopped(symptoms.exitCode))

  if (find(lines, NO_IMAGE))
    return {
      cause: 'image',
      says: 'the image cannot be pulled',
      hint: 'Check its name and tag, and whether the server may pull it.',
    }
  if (stage === 'build')
    return {
      cause: 'build',
      says: 'the build failed',
      hint: 'Mend what the last lines name; the version that ran goes on running.',
    }
  if (symptoms.outside === 'unreachable')
    return {
      cause: 'outside',
      says: symptoms.outsideError ?? 'the public address cannot be reached',
      hint:
        symptoms.movingName === undefined
          ? 'Look at the name and its certificate: bun scripts/dns.ts --plan, bun scripts/doctor.ts'
          : `Until ${symptoms.movingName} leads here: bun scripts/dns.ts certificate, then deploy again; or leave the public address out with --inside-only`,
    }
  // 137 without a word about health is the kernel's or Docker's kill.
  if (symptoms.oomKilled || find(log, MEMORY) || (symptoms.exitCode === 137 && !unhealthy))
    return {
      cause: 'memory',
      says: 'it looks like memory: the container was killed for using too much',
      hint: `Raise apps.${app.name}.memory_mb, or take a larger server.`,
    }
  const variable = find(log, VARIABLE)
    ?.slice(1)
    .find(each => each !== undefined)
  if (variable !== undefined)
    return {
      cause: 'env',
      says: `it looks like a variable: ${variable} is missing or wrong`,
      hint: `Add ${variable} to the env file, then: bun scripts/env.ts push ${app.name}`,
    }
  const expected = [app.port, ...app.domains.map(domain => domain.port)]
  // The log may hold the version before as well, which listens where it should.
  const listens = log
    .map(line => Number(LISTENING.exec(line)?.[1] ?? Number.NaN))
    .findLast(port => Number.isFinite(port) && !expected.includes(port))
  if (listens !== undefined)
    return {
      cause: 'port',
      says: `it looks like the port: the container listens on ${listens}, config.json says ${app.port}`,
      hint: `Set apps.${app.name}.port to ${listens}, or PORT=${app.port} in its variables.`,
    }
  const missing = find(log, NOT_FOUND)?.[1]
  if (missing !== undefined || symptoms.status === 404)
    return {
      cause: 'path',
      says: `it looks like the path: ${missing ?? app.health?.path ?? '/'} is answered with 404`,
      hint: `Set apps.${app.name}.health.path to one that the app answers.`,
    }
  if (find(lines, NO_TOOL))
    return {
      cause: 'path',
      says: 'the health check cannot run: the image has neither wget nor curl',
      hint: `Give apps.${app.name}.health.command something that the image has.`,
    }
  if (unhealthy)
    return {
      cause: 'unhealthy',
      says: 'it runs, but its health check never succeeded',
      hint: `What answers on port ${app.port} at ${app.health?.path ?? '/'}? Give it more time with apps.${app.name}.health.start_s.`,
    }
  if (stage === 'outside')
    return {
      cause: 'outside',
      says: symptoms.outsideError ?? `the public address answers with status ${symptoms.status ?? 0}`,
      hint:
        symptoms.status === 502
          ? `Nothing listens on port ${app.port} of the container: compare it with the domain's port.`
          : 'bun scripts/doctor.ts',
    }
  if (symptoms.exitCode !== undefined && symptoms.exitCode !== 0)
    return {
      cause: 'crash',
      says: `the container ends by itself with exit code ${symptoms.exitCode}`,
      hint: 'Its last lines say why.',
    }
  if (taskErrors.length > 0)
    return { cause: 'crash', says: `the container does not stay: ${taskErrors[0] ?? ''}`, hint: 'Its last lines say why.' }
  return {
    cause: 'unknown',
    says: 'the new version did not become healthy in time',
    hint: 'Its last lines are all that is known.',
  }
}
