/** What previews are judged by: the pull requests with what was said about them, and what runs on the machines. */

import { X509Certificate } from 'node:crypto'
import { hasCode } from '../errors.ts'
import { isOurs, LABEL_KEYS } from '../estate/labels.ts'
import type { PreviewSpec } from '../estate/previews.ts'
import { believedOf, type Marked, parseComment } from '../preview/comment.ts'
import { type CommandComment, type Pull, parseCommand } from '../preview/desired.ts'
import type { Server } from '../providers/ports/cloud.ts'
import { type IssueComment, type PullRequest, type PullRequests, WORKFLOW_LOGIN } from '../providers/ports/github.ts'
import type { Deps } from './deps.ts'
import { parseFactLines, runProgram, targetOf } from './machine.ts'

/** A pull request with the comment that counts, and whether this token may edit it. */
export interface SeenPull extends Pull {
  readonly comment?: Pick<Marked, 'id' | 'author' | 'remembered'> & { readonly editable: boolean }
}

export interface PullsState {
  /** By this machine's clock, at the look. */
  readonly nowMs: number
  /** Open ones, and closed ones of which something may be left. */
  readonly pulls: readonly SeenPull[]
}

export interface PreviewRun {
  readonly number: number
  readonly head: string
  readonly generation: string
  /** `down`: its containers do not run. `partial`: a deploy or a removal was cut short. */
  readonly state: 'up' | 'down' | 'failed' | 'partial'
  readonly sinceMs: number
  readonly why: string
}

export interface ServedCertificate {
  readonly notAfterMs: number
  readonly names: readonly string[]
}

/** Of one machine. */
export type PreviewsState =
  | { readonly state: 'unknown'; readonly why: string }
  /** Docker, Compose or git are missing. */
  | { readonly state: 'bare' }
  | {
      readonly state: 'ready'
      /** Ranges that its containers do not reach, now and after a reboot. */
      readonly walls: readonly string[]
      /** SHA-256 of the edge's file; `none` while it does not serve, and after a change of file or certificate that it has not taken up. */
      readonly caddyfile: string
      readonly certificate?: ServedCertificate
      readonly runs: readonly PreviewRun[]
    }

const RECENTLY_MS = 2 * 24 * 3_600_000

export interface PullsReaderOptions {
  readonly github: PullRequests
  readonly spec: PreviewSpec
  readonly estate: string
  readonly nowMs: () => number
  /** Numbers that something runs for, or that the operator names: looked at even when closed long ago. */
  readonly alsoSee: readonly number[]
}

/** One list of open pull requests, one of closed ones, the comments of each that matters, and once the rights of who wrote something. */
export async function readPulls({ github, spec, estate, nowMs, alsoSee }: PullsReaderOptions): Promise<PullsState> {
  const repository = { owner: spec.owner, name: spec.repository }
  const [open, closed, self] = await Promise.all([
    github.listPulls(repository),
    github.listClosedPulls(repository),
    github.readSelf(),
  ])
  const now = nowMs()
  const recent = closed.filter(each => alsoSee.includes(each.number) || now - Date.parse(each.closedAt ?? '') < RECENTLY_MS)
  const known = [...open, ...recent]
  const others = await Promise.all(
    [...new Set(alsoSee)]
      .filter(number => !known.some(each => each.number === number))
      .map(number => github.findPull(repository, number)),
  )
  const writers = new Map<string, Promise<boolean>>()
  const mayWrite = (login: string): Promise<boolean> => {
    const asked = writers.get(login) ?? (login === '' ? Promise.resolve(false) : github.mayWrite(repository, login))
    writers.set(login, asked)
    return asked
  }
  const see = async (pull: PullRequest): Promise<SeenPull[]> => {
    const comments = await github.listComments(repository, pull.number)
    const ours = await believed(pull.number, comments)
    // A closed one that we never spoke about needs no word now.
    if (pull.state === 'closed' && !ours && !alsoSee.includes(pull.number)) return []
    const commands = await Promise.all(
      comments.flatMap(({ id, author, body }) => {
        const command = parseCommand(body)
        return command ? [mayWrite(author).then((may): CommandComment => ({ id, command, author, mayWrite: may }))] : []
      }),
    )
    const { number, state, draft, head, author, fork } = pull
    return [
      {
        ...{ number, state, draft, head, author, fork, commands },
        approved: fork && pull.labels.includes(spec.label) && (await isLabelledByWriter(pull.number)),
        ...(ours ? { comment: ours, record: ours.remembered.record } : {}),
      },
    ]
  }
  // Anybody may write a comment that looks like ours, and `author_association` says nothing about rights: a member may only read.
  const isHeard = async (login: string): Promise<boolean> => login === WORKFLOW_LOGIN || mayWrite(login)
  const believed = async (number: number, comments: readonly IssueComment[]): Promise<SeenPull['comment']> => {
    const marked = comments.flatMap(({ id, author, body, updatedAt }) => {
      const remembered = parseComment(body, estate, number)
      return remembered ? [{ id, author, updatedAtMs: Date.parse(updatedAt), remembered }] : []
    })
    const others = marked.some(each => each.author !== self)
    const authors = others ? [...new Set(marked.map(each => each.author))] : []
    const heard = await Promise.all(authors.map(async login => ((await isHeard(login)) ? [login] : [])))
    const one = believedOf(marked, self, login => heard.flat().includes(login))
    return one && { ...one, editable: one.author === self || (await isHeard(self)) }
  }
  const isLabelledByWriter = async (number: number): Promise<boolean> => {
    const who = (await github.listLabelings(repository, number)).filter(each => each.label === spec.label).at(-1)?.who
    return who !== undefined && mayWrite(who)
  }
  const seen = await Promise.all([...known, ...others.flatMap(each => each ?? [])].map(see))
  return { nowMs: now, pulls: seen.flat().sort((a, b) => a.number - b.number) }
}

/** Our servers that are previews, by number. */
export const previewServers = (estate: string, servers: readonly Server[]): ReadonlyMap<number, Server> =>
  new Map(
    servers.flatMap(server => {
      const number = Number(server.labels[LABEL_KEYS.pullRequest])
      return isOurs(server.labels, estate) && Number.isInteger(number) && number > 0 ? [[number, server] as const] : []
    }),
  )

/** What one machine says; never waits for one that does not answer. */
export async function readPreviewsOn(
  deps: Pick<Deps, 'estate' | 'machines' | 'programs'>,
  server: Server,
): Promise<PreviewsState> {
  const target = targetOf(deps.estate.name, server)
  if (server.status !== 'running' || !target || server.labels[LABEL_KEYS.trust] !== 'pinned')
    return { state: 'unknown', why: `${server.name} is not set up yet` }
  const seen = await deps.machines.look(target)
  if (seen.state !== 'ready') return { state: 'unknown', why: `${server.name}: ${seen.why}` }
  try {
    return parsePreviews(await runProgram(deps, target, 'preview-look'))
  } catch (error) {
    if (hasCode(error, 'network', 'timeout')) return { state: 'unknown', why: error.message }
    throw error
  }
}

const STATES = ['up', 'down', 'failed', 'partial'] as const

/** Pure. */
export function parsePreviews(text: string): PreviewsState {
  const facts = parseFactLines(text)
  if (facts.docker !== 'ready') return { state: 'bare' }
  const runs = text.split('\n').flatMap((line): PreviewRun[] => {
    const [word, number, head = '-', generation = '0', state, since = '0', why = '-'] = line.trim().split(' ')
    if (word !== 'preview' || !/^\d{1,9}$/.test(number ?? '')) return []
    return [
      {
        number: Number(number),
        head,
        generation,
        state: STATES.find(each => each === state) ?? 'partial',
        sinceMs: Number(since) * 1_000 || 0,
        why: why === '-' ? '' : Buffer.from(why, 'base64').toString('utf8').replace(/^-$/, ''),
      },
    ]
  })
  const certificate =
    facts.certificate === undefined ? undefined : readCertificate(Buffer.from(facts.certificate, 'base64').toString('utf8'))
  const walls = (facts.walls ?? '').split(' ').filter(Boolean)
  return { state: 'ready', walls, caddyfile: facts.caddyfile ?? 'none', ...(certificate ? { certificate } : {}), runs }
}

function readCertificate(pem: string): ServedCertificate | undefined {
  try {
    const { validTo, subjectAltName } = new X509Certificate(pem)
    return { notAfterMs: Date.parse(validTo), names: (subjectAltName ?? '').split(', ').map(each => each.replace(/^DNS:/, '')) }
  } catch (error) {
    // What is no certificate has to be replaced by one.
    if (error instanceof Error) return undefined
    throw error
  }
}
