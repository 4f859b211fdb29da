/**
 * Landfall's programs about previews, on a simulated machine. The repository's content is not simulated: every commit is taken to have
 * the Compose file that the sandbox was given for it, or a small one of one web service.
 */

import { createHash, X509Certificate } from 'node:crypto'
import type { ProgramName } from '../../estate/programs.ts'
import { fail, lines, type Outcome } from './outcome.ts'
import type { Emulation, ProgramMachine, Values } from './programs.ts'

export interface SimulatedPreview {
  readonly head: string
  readonly generation: string
  readonly state: 'up' | 'failed' | 'fetched'
  readonly sinceMs: number
  readonly why: string
  readonly variables: readonly string[]
  /** "10.0.0.3:8080", where one is published there. */
  readonly published?: string
}

export interface PreviewsDisk {
  readonly prepared: boolean
  /** Ranges that containers do not reach. */
  readonly walls: readonly string[]
  readonly caddyfile?: string
  readonly certificate?: string
  readonly key?: string
  /** What the edge was last told to take up, which it serves until it is told again. */
  readonly loaded?: EdgeFiles
  readonly previews: Readonly<Record<string, SimulatedPreview>>
}

export interface EdgeFiles {
  readonly caddyfile: string
  readonly certificate: string
  readonly key: string
}

/** A file of a repository at a commit; undefined: it has none. */
export type RepositoryFiles = (head: string, path: string) => string | undefined

export const EMPTY_PREVIEWS: PreviewsDisk = { prepared: false, walls: [], previews: {} }
export const DEFAULT_COMPOSE = 'services:\n  web:\n    build: .\n'

const base64 = (text: string) => Buffer.from(text).toString('base64')

const numberIn = ({ NUMBER = '' }: Values): string | undefined => (/^[1-9]\d{0,8}$/.test(NUMBER) ? NUMBER : undefined)
const badNumber = fail(65, 'NUMBER is not the number of a pull request.')

const put = (machine: ProgramMachine, number: string, preview: SimulatedPreview | undefined): void => {
  const { [number]: _, ...others } = machine.previews.previews
  machine.setPreviews({ ...machine.previews, previews: preview ? { ...others, [number]: preview } : others })
}

const isLoaded = ({ caddyfile, certificate, key, loaded }: PreviewsDisk): boolean =>
  loaded !== undefined && loaded.caddyfile === caddyfile && loaded.certificate === certificate && loaded.key === key

const look = ({ previews }: ProgramMachine): Outcome =>
  previews.prepared
    ? lines({}, [
        'docker=ready',
        `walls=${previews.walls.join(' ')}`,
        `caddyfile=${
          isLoaded(previews)
            ? createHash('sha256')
                .update(previews.caddyfile ?? '')
                .digest('hex')
            : 'none'
        }`,
        ...(previews.certificate === undefined ? [] : [`certificate=${base64(previews.certificate)}`]),
        ...Object.entries(previews.previews).map(([number, each]) =>
          each.state === 'fetched'
            ? `preview ${number} - 0 partial 0 -`
            : `preview ${number} ${each.head} ${each.generation} ${each.state} ${Math.floor(each.sinceMs / 1000)} ${base64(each.why || '-')}`,
        ),
      ])
    : lines({ docker: 'absent' })

const host = (machine: ProgramMachine, { RANGE: range }: Values): Outcome => {
  if (machine.diskFull) return fail(1, 'No space left on device')
  machine.setPreviews({ ...machine.previews, prepared: true, walls: ['169.254.169.254/32', ...(range ? [range] : [])] })
  return lines({ ok: 1 })
}

const fetchCommit = (machine: ProgramMachine, values: Values): Outcome => {
  const number = numberIn(values)
  if (number === undefined) return badNumber
  const { HEAD: head = '', COMPOSE_FILE: file = '', GENERATION: generation = '' } = values
  if (!/^[0-9a-f]{40}$/.test(head)) return fail(65, 'HEAD is not a commit.')
  if (!machine.previews.previews[number])
    put(machine, number, { head, generation, state: 'fetched', sinceMs: 0, why: '', variables: [] })
  const text = machine.repositoryFile(head, file)
  return lines({}, [
    `checkout=/var/lib/landfall-previews/pr-${number}/source`,
    text === undefined ? 'file=absent' : `file=${base64(text)}`,
  ])
}

interface ComposeFile {
  readonly services: Readonly<Record<string, { readonly ports?: readonly string[] }>>
}

const up = (machine: ProgramMachine, values: Values): Outcome => {
  const number = numberIn(values)
  if (number === undefined) return badNumber
  const { HEAD: head = '', GENERATION: generation = '', WHY: why = '', COMPOSE: compose = '', VARIABLES: variables = '' } = values
  const base = {
    head,
    generation,
    sinceMs: machine.nowMs,
    variables: [...variables.matchAll(/^([A-Z0-9_]+)=/gm)].map(match => match[1] ?? ''),
  }
  if (why !== '') {
    put(machine, number, { ...base, state: 'failed', why })
    return lines({ state: 'failed' })
  }
  const file = JSON.parse(compose) as ComposeFile
  if (compose.includes('exit 1')) {
    put(machine, number, { ...base, state: 'failed', why: 'container web exited (1)' })
    return lines({ state: 'failed' })
  }
  const port = Object.values(file.services).flatMap(each => each.ports ?? [])[0]
  put(machine, number, { ...base, state: 'up', why: '', ...(port ? { published: port.split(':').slice(0, 2).join(':') } : {}) })
  return lines({ state: 'up' })
}

const down = (machine: ProgramMachine, values: Values): Outcome => {
  const number = numberIn(values)
  if (number === undefined) return badNumber
  put(machine, number, undefined)
  return lines({ ok: 1 })
}

const edge = (machine: ProgramMachine, values: Values): Outcome => {
  const { CERTIFICATE: certificate, KEY: key, CADDYFILE: caddyfile } = values
  if (certificate && key && !new X509Certificate(certificate).publicKey) return fail(65, 'CERTIFICATE is none.')
  const written = { ...machine.previews, ...(certificate && key ? { certificate, key } : {}) }
  if (!caddyfile) machine.setPreviews(written)
  else if (!written.certificate || !written.key) return fail(1, 'There is no certificate yet.')
  else if (machine.moment.traefikUp) return fail(1, 'The edge could not be started.')
  else {
    const loaded = { caddyfile, certificate: written.certificate, key: written.key }
    machine.setPreviews({ ...written, caddyfile, loaded })
  }
  return lines({ ok: 1 })
}

const logs = (machine: ProgramMachine, values: Values): Outcome => {
  const number = numberIn(values)
  if (number === undefined) return badNumber
  const preview = machine.previews.previews[number]
  return preview ? lines({}, [`--- web (${preview.state})`, `simulated: serving ${preview.head.slice(0, 7)}`]) : lines({})
}

export const PREVIEW_PROGRAMS = {
  'preview-look': { accepts: [], run: look },
  'preview-host': { accepts: ['RANGE'], run: host },
  'preview-fetch': { accepts: ['NUMBER', 'HEAD', 'GENERATION', 'REPOSITORY', 'COMPOSE_FILE', 'TOKEN'], run: fetchCommit },
  'preview-up': {
    accepts: [
      'NUMBER',
      'HEAD',
      'GENERATION',
      'COMPOSE',
      'BUILD_PATHS',
      'SERVICES',
      'SERVICE',
      'PORT',
      'VARIABLES',
      'LIMIT',
      'WHY',
    ],
    run: up,
  },
  'preview-down': { accepts: ['NUMBER'], run: down },
  'preview-edge': { accepts: ['CERTIFICATE', 'KEY', 'CADDYFILE', 'IMAGE'], run: edge },
  'preview-logs': { accepts: ['NUMBER'], run: logs },
} satisfies Partial<Record<ProgramName, Emulation>>
