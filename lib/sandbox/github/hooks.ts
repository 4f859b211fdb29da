/** `/repos/{owner}/{repo}/hooks`: the same address and events twice is refused, and a secret is never shown again. */

import { paged } from './pages.ts'
import type { HookRow, Route, RouteContext } from './standin.ts'
import { json, refusal } from './standin.ts'

/** Hooks of one event in one repository. */
const LIMIT = 20

const toWire = ({ repository }: RouteContext, hook: HookRow) => ({
  type: 'Repository',
  id: hook.id,
  name: 'web',
  active: hook.active,
  events: hook.events,
  config: {
    url: hook.url,
    content_type: hook.contentType,
    insecure_ssl: hook.insecureSsl,
    ...(hook.secret === null ? {} : { secret: '********' }),
  },
  created_at: hook.createdAt,
  updated_at: hook.createdAt,
  url: `https://api.github.com/repos/${repository.owner}/${repository.name}/hooks/${hook.id}`,
  last_response: { code: null, status: 'unused', message: null },
})

interface Input {
  readonly url?: string
  readonly contentType?: string
  readonly secret?: string
  readonly insecureSsl?: string
  readonly events?: readonly string[]
  readonly active?: boolean
}

const parse = ({ body }: RouteContext): Input => {
  const config: Readonly<Record<string, unknown>> =
    typeof body.config === 'object' && body.config !== null ? { ...body.config } : {}
  const text = (value: unknown) => (typeof value === 'string' ? value : undefined)
  const url = text(config.url)
  const contentType = text(config.content_type)
  const secret = text(config.secret)
  const insecure = config.insecure_ssl === undefined ? undefined : String(config.insecure_ssl)
  return {
    ...(url === undefined ? {} : { url }),
    ...(contentType === undefined ? {} : { contentType }),
    ...(secret === undefined ? {} : { secret }),
    ...(insecure === undefined ? {} : { insecureSsl: insecure }),
    ...(Array.isArray(body.events) ? { events: body.events.filter(each => typeof each === 'string') } : {}),
    ...(typeof body.active === 'boolean' ? { active: body.active } : {}),
  }
}

const own = ({ state, repository }: RouteContext): HookRow[] =>
  state.hooks.all().filter(hook => hook.repository === repository.id)

const fault = (context: RouteContext, input: Input, except?: number) => {
  if (input.url === undefined || !URL.canParse(input.url))
    return refusal(422, 'Validation Failed', [
      { resource: 'Hook', code: 'custom', message: 'Config must contain URL for webhooks' },
    ])
  if (
    own(context).some(
      hook => hook.id !== except && hook.url === input.url && String(hook.events) === String(input.events ?? ['push']),
    )
  )
    return refusal(422, 'Validation Failed', [
      { resource: 'Hook', code: 'custom', message: 'Hook already exists on this repository' },
    ])
  return undefined
}

export const hookRoutes: readonly Route[] = [
  {
    method: 'GET',
    path: '/hooks',
    right: 'admin',
    answer(context) {
      const rows = own(context).map(hook => toWire(context, hook))
      return paged(context, '/hooks', rows)
    },
  },
  {
    method: 'POST',
    path: '/hooks',
    right: 'admin',
    answer(context) {
      const input = parse(context)
      const wrong = fault(context, input)
      if (wrong) return wrong
      if (own(context).length >= LIMIT)
        return refusal(422, 'Validation Failed', [
          { resource: 'Hook', code: 'custom', message: 'The "push" event cannot have more than 20 hooks' },
        ])
      const hook: HookRow = {
        id: context.state.nextId('hooks'),
        repository: context.repository.id,
        active: input.active ?? true,
        events: input.events ?? ['push'],
        url: input.url ?? '',
        contentType: input.contentType ?? 'form',
        secret: input.secret ?? null,
        insecureSsl: input.insecureSsl ?? '0',
        createdAt: new Date(context.clock.nowMs()).toISOString(),
      }
      context.state.hooks.put(String(hook.id), hook)
      return json(201, toWire(context, hook))
    },
  },
  {
    method: 'PATCH',
    path: '/hooks/{id}',
    right: 'admin',
    answer(context) {
      const hook = own(context).find(each => String(each.id) === context.parameters.id)
      if (!hook) return refusal(404, 'Not Found')
      const input = parse(context)
      // A config that is given replaces the whole: what it does not name, the secret too, is gone.
      const given = input.url !== undefined
      const next: HookRow = {
        ...hook,
        ...(given
          ? {
              url: input.url ?? '',
              contentType: input.contentType ?? 'form',
              secret: input.secret ?? null,
              insecureSsl: input.insecureSsl ?? '0',
            }
          : {}),
        events: input.events ?? hook.events,
        active: input.active ?? hook.active,
      }
      const wrong = fault(context, { url: next.url, events: next.events }, hook.id)
      if (wrong) return wrong
      context.state.hooks.put(String(hook.id), next)
      return json(200, toWire(context, next))
    },
  },
  {
    method: 'DELETE',
    path: '/hooks/{id}',
    right: 'admin',
    answer(context) {
      const hook = own(context).find(each => String(each.id) === context.parameters.id)
      if (!hook) return refusal(404, 'Not Found')
      context.state.hooks.delete(String(hook.id))
      return json(204)
    },
  },
]
