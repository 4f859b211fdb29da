/** GitHub behind our port: webhooks that exist once, deliver JSON over verified TLS, and are signed. */

import { createOnce } from '../../engine/retry.ts'
import { hasCode, isServerFault } from '../../errors.ts'
import { Secret } from '../../secret.ts'
import type { ProviderContext } from '../context.ts'
import type { GitHub, Hook, Repository, WantedHook } from '../ports/github.ts'
import { isRow, type JsonRow, rowsIn, textOf } from '../rest.ts'
import { createGitHubRest, GITHUB_API } from './rest.ts'

export interface GitHubOptions {
  readonly token: Secret
  readonly context: ProviderContext
  readonly endpoint?: string
}

const PER_PAGE = 100
/** GitHub keeps at most 20 hooks per event; more pages than this are not a repository's. */
const MAX_PAGES = 10

export function createGitHub({ token, context, endpoint }: GitHubOptions): GitHub {
  const rest = createGitHubRest({
    endpoint: endpoint ?? GITHUB_API,
    token,
    context,
    tokenHint: 'The token needs the repository’s permission "Webhooks: read and write" (a classic token: admin:repo_hook).',
  })
  const pathOf = ({ owner, name }: Repository) => `/repos/${encodeURIComponent(owner)}/${encodeURIComponent(name)}/hooks`

  const listHooks = async (repository: Repository): Promise<readonly Hook[]> => {
    const hooks: Hook[] = []
    for (let page = 1; page <= MAX_PAGES; page++) {
      const { json } = await rest.get(`${pathOf(repository)}?per_page=${PER_PAGE}&page=${page}`)
      const rows = rowsIn(json)
      hooks.push(...rows.map(fromWireHook))
      if (rows.length < PER_PAGE) break
    }
    return hooks
  }

  return {
    listHooks,
    async createHook(repository, hook) {
      await createOnce<'made'>({
        clock: context.clock,
        signal: context.signal,
        random: context.random,
        policy: { maxRetries: 3, baseMs: 1_000, capMs: 60_000 },
        what: `the webhook of ${repository.owner}/${repository.name}`,
        send: async () => {
          await rest.send('POST', pathOf(repository), { name: 'web', ...toWireHook(hook) })
          return 'made'
        },
        find: async () => {
          const found = (await listHooks(repository)).some(each => each.url.reveal() === hook.url.reveal())
          return found ? 'made' : undefined
        },
        judge: error =>
          hasCode(error, 'rate_limited')
            ? 'refused'
            : hasCode(error, 'network', 'timeout') || isServerFault(error)
              ? 'unknown'
              : 'fatal',
        askedWaitMs: rest.askedWaitMs,
      })
    },
    async setHook(repository, id, hook) {
      await rest.send('PATCH', `${pathOf(repository)}/${id}`, toWireHook(hook))
    },
    async deleteHook(repository, id) {
      try {
        await rest.send('DELETE', `${pathOf(repository)}/${id}`)
      } catch (error) {
        // Gone is what was wanted.
        if (!hasCode(error, 'not_found')) throw error
      }
    },
  }
}

const toWireHook = (hook: WantedHook) => ({
  active: true,
  events: ['push'],
  config: { url: hook.url.reveal(), content_type: 'json', secret: hook.secret.reveal(), insecure_ssl: '0' },
})

function fromWireHook(row: JsonRow): Hook {
  const config = isRow(row.config) ? row.config : {}
  return {
    id: typeof row.id === 'number' ? row.id : 0,
    url: new Secret('webhook address', textOf(config, 'url')),
    events: Array.isArray(row.events) ? row.events.filter(each => typeof each === 'string') : [],
    active: row.active === true,
    contentType: textOf(config, 'content_type'),
    signed: textOf(config, 'secret') !== '',
    insecure: String(config.insecure_ssl ?? '0') !== '0',
  }
}
