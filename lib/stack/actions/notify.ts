/** Tells a chat or another webhook how a rollout ended. Its address is a secret: whoever has it can write there. */

import type { Session } from '../../script.ts'
import { Secret } from '../../secret.ts'

export interface Notice {
  readonly stack: string
  readonly environment: string
  readonly kind: 'deploy' | 'rollback'
  readonly ok: boolean
  readonly who: string
  readonly seconds: number
  readonly why?: string
}

export interface NoticeContext {
  readonly environment: Pick<Session['environment'], 'lookup'>
  readonly reporter: Pick<Session['reporter'], 'warning'>
  readonly clean: Session['clean']
}

const TIMEOUT_MS = 10_000

/** SLACK_WEBHOOK gets a line of text, DEPLOY_WEBHOOK the facts as JSON. A notice that cannot be delivered is a warning, never a failure. */
export async function notify(session: NoticeContext, notice: Notice): Promise<void> {
  const { environment, reporter, clean } = session
  for (const name of ['SLACK_WEBHOOK', 'DEPLOY_WEBHOOK'] as const) {
    const value = environment.lookup(name)
    if (value === undefined) continue
    const address = new Secret(name, value)
    const body =
      name === 'SLACK_WEBHOOK'
        ? { text: clean(renderNotice(notice)) }
        : { ...notice, why: notice.why === undefined ? undefined : clean(notice.why) }
    const problem = await send(address, JSON.stringify(body))
    if (problem !== undefined) reporter.warning(`The notice could not be delivered to ${name}: ${problem}.`)
  }
}

/** Slack reads &, < and > as its own marks. */
export function renderNotice({ stack, environment, kind, ok, who, seconds, why }: Notice): string {
  const what = kind === 'deploy' ? 'deployed to' : 'rolled back in'
  const text = ok
    ? `${stack} was ${what} ${environment} by ${who} in ${Math.round(seconds)} s.`
    : `${stack} was NOT ${what} ${environment} by ${who}: ${why ?? 'it failed'}`
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').slice(0, 3000)
}

/** What went wrong, in words that do not hold the address. */
async function send(address: Secret, body: string): Promise<string | undefined> {
  const url = URL.parse(address.reveal())
  if (url?.protocol !== 'https:' && !(url?.protocol === 'http:' && /^(?:127\.|localhost$|\[::1\])/.test(url.hostname)))
    return 'it is no https:// address'
  try {
    const answer = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body,
      redirect: 'manual',
      signal: AbortSignal.timeout(TIMEOUT_MS),
    })
    await answer.body?.cancel()
    return answer.ok ? undefined : `it answered ${answer.status}`
  } catch (error) {
    return error instanceof Error && error.name === 'TimeoutError'
      ? `no answer within ${TIMEOUT_MS / 1000} s`
      : 'it cannot be reached'
  }
}
