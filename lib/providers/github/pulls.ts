/**
 * Pull requests, comments and labels. Reads are conditional: what has not changed costs nothing of the hourly limit. Pages follow the
 * `Link` header, as GitHub's documentation asks ("Using pagination in the REST API", "Best practices", 2022-11-28).
 */

import { createOnce } from '../../engine/retry.ts'
import { hasCode, isServerFault, LandfallError } from '../../errors.ts'
import type { Secret } from '../../secret.ts'
import type { ProviderContext } from '../context.ts'
import { type IssueComment, type PullRequest, type PullRequests, type Repository, WORKFLOW_LOGIN } from '../ports/github.ts'
import { isRow, type JsonRow, rowsIn, textOf } from '../rest.ts'
import { createGitHubRest, GITHUB_API } from './rest.ts'

export interface PullsOptions {
  readonly token: Secret
  readonly context: ProviderContext
  readonly endpoint?: string
}

const MAX_PAGES = 30

interface Kept {
  readonly etag: string
  readonly json: unknown
  readonly next: string | undefined
}

export function createPullRequests({ token, context, endpoint }: PullsOptions): PullRequests {
  const base = (endpoint ?? GITHUB_API).replace(/\/+$/, '')
  const rest = createGitHubRest({
    endpoint: base,
    token,
    context,
    tokenHint:
      'The token needs "Pull requests: read and write" on this repository (in a workflow: permissions: pull-requests: write).',
  })
  const kept = new Map<string, Kept>()
  const pathOf = ({ owner, name }: Repository) => `/repos/${encodeURIComponent(owner)}/${encodeURIComponent(name)}`

  const read = async (path: string): Promise<Kept> => {
    const before = kept.get(path)
    const answer = await rest.get(path, before ? { 'if-none-match': before.etag } : {})
    if (answer.status === 304 && before) return before
    const fresh = { etag: answer.headers.get('etag') ?? '', json: answer.json, next: nextOf(answer.headers.get('link'), base) }
    if (fresh.etag !== '') kept.set(path, fresh)
    return fresh
  }
  const readAll = async (first: string): Promise<JsonRow[]> => {
    const rows: JsonRow[] = []
    let path: string | undefined = first
    for (let page = 0; path !== undefined; page++) {
      if (page >= MAX_PAGES)
        throw new LandfallError('limit', `GitHub's list ${first} has more than ${MAX_PAGES} pages.`, {
          hint: 'Close pull requests that nobody works on.',
        })
      const { json, next }: Kept = await read(path)
      rows.push(...rowsIn(json))
      path = next
    }
    return rows
  }
  const absent = <T>(error: unknown, instead: T): T => {
    if (hasCode(error, 'not_found')) return instead
    throw error
  }
  const judgeWrite = (error: unknown): 'refused' | 'unknown' | 'fatal' =>
    hasCode(error, 'rate_limited')
      ? 'refused'
      : hasCode(error, 'network', 'timeout') || isServerFault(error)
        ? 'unknown'
        : 'fatal'

  const listComments: PullRequests['listComments'] = async (repository, number) =>
    (await readAll(`${pathOf(repository)}/issues/${number}/comments?per_page=100`)).map(toComment)

  return {
    listComments,
    async listPulls(repository) {
      return (await readAll(`${pathOf(repository)}/pulls?state=open&sort=created&direction=asc&per_page=100`)).map(toPull)
    },
    async listClosedPulls(repository) {
      const { json } = await read(`${pathOf(repository)}/pulls?state=closed&sort=updated&direction=desc&per_page=100`)
      return rowsIn(json).map(toPull)
    },
    async findPull(repository, number) {
      try {
        const { json } = await read(`${pathOf(repository)}/pulls/${number}`)
        return isRow(json) ? toPull(json) : undefined
      } catch (error) {
        return absent(error, undefined)
      }
    },
    async listLabelings(repository, number) {
      const rows = await readAll(`${pathOf(repository)}/issues/${number}/events?per_page=100`)
      return rows.flatMap(row =>
        row.event === 'labeled' && isRow(row.label) ? [{ label: textOf(row.label, 'name'), who: loginOf(row.actor) }] : [],
      )
    },
    async mayWrite(repository, login) {
      try {
        const { json } = await read(`${pathOf(repository)}/collaborators/${encodeURIComponent(login)}/permission`)
        // `maintain` is reported as "write" here, `triage` as "read" (GitHub's reference, "Collaborators").
        return isRow(json) && (json.permission === 'admin' || json.permission === 'write')
      } catch (error) {
        return absent(error, false)
      }
    },
    async readSelf() {
      try {
        const { json } = await rest.get('/user')
        return isRow(json) ? textOf(json, 'login') : WORKFLOW_LOGIN
      } catch (error) {
        // A workflow's own token may not ask who it is.
        if (hasCode(error, 'forbidden')) return WORKFLOW_LOGIN
        throw error
      }
    },
    createComment: (repository, number, body) =>
      createOnce<IssueComment>({
        clock: context.clock,
        signal: context.signal,
        random: context.random,
        policy: { maxRetries: 3, baseMs: 1_000, capMs: 60_000 },
        what: `the comment of pull request ${number}`,
        send: async () => {
          const { json } = await rest.send('POST', `${pathOf(repository)}/issues/${number}/comments`, { body })
          return toComment(isRow(json) ? json : {})
        },
        find: async () => (await listComments(repository, number)).find(each => each.body === body),
        judge: judgeWrite,
        askedWaitMs: rest.askedWaitMs,
      }),
    async setComment(repository, id, body) {
      await rest.send('PATCH', `${pathOf(repository)}/issues/comments/${id}`, { body })
    },
    async removeLabel(repository, number, label) {
      try {
        await rest.send('DELETE', `${pathOf(repository)}/issues/${number}/labels/${encodeURIComponent(label)}`)
      } catch (error) {
        absent(error, undefined)
      }
    },
  }
}

/** The next page's path, where it is on the same host. */
function nextOf(link: string | null, base: string): string | undefined {
  const url = /<([^>]+)>;\s*rel="next"/.exec(link ?? '')?.[1]
  return url?.startsWith(`${base}/`) ? url.slice(base.length) : undefined
}

const loginOf = (value: unknown): string => (isRow(value) ? textOf(value, 'login') : '')
const numberOf = (row: JsonRow, name: string): number => (typeof row[name] === 'number' ? row[name] : 0)

function toPull(row: JsonRow): PullRequest {
  const head = isRow(row.head) ? row.head : {}
  const base = isRow(row.base) ? row.base : {}
  const nameOf = (side: JsonRow) => (isRow(side.repo) ? textOf(side.repo, 'full_name') : undefined)
  const sha = textOf(head, 'sha')
  if (!/^[0-9a-f]{40}$/.test(sha)) throw new LandfallError('vendor', 'GitHub names a pull request without a commit.')
  return {
    number: numberOf(row, 'number'),
    state: row.state === 'open' ? 'open' : 'closed',
    draft: row.draft === true,
    head: sha,
    author: loginOf(row.user),
    // A fork that was deleted has no repository any more: it is a stranger's all the same.
    fork: nameOf(head) === undefined || nameOf(head) !== nameOf(base),
    labels: rowsIn(row.labels).map(label => textOf(label, 'name')),
    createdAt: textOf(row, 'created_at'),
    ...(typeof row.closed_at === 'string' ? { closedAt: row.closed_at } : {}),
  }
}

const toComment = (row: JsonRow): IssueComment => ({
  id: numberOf(row, 'id'),
  author: loginOf(row.user),
  body: textOf(row, 'body'),
  updatedAt: textOf(row, 'updated_at'),
})
