import { afterEach, expect, test } from 'bun:test'
import { notify } from '../../../lib/stack/actions/notify.ts'

const NOTICE = {
  stack: 'shop',
  environment: 'prod',
  kind: 'deploy',
  ok: false,
  who: 'ci@runner',
  seconds: 12.4,
  why: 'The new web is unhealthy; hunter22 <b>',
} as const

let server: ReturnType<typeof Bun.serve> | undefined
afterEach(() => server?.stop(true))

/** Sends the notice with these variables; answers with the warnings and what the receiver got. */
async function send(variables: Readonly<Record<string, string>>, status = 200) {
  const got: { readonly path: string; readonly body: unknown }[] = []
  server = Bun.serve({
    port: 0,
    hostname: '127.0.0.1',
    async fetch(request) {
      got.push({ path: new URL(request.url).pathname, body: await request.json() })
      return new Response('', { status })
    },
  })
  const warnings: string[] = []
  const here = Object.fromEntries(
    Object.entries(variables).map(([name, value]) => [name, value.replace('HERE', `http://127.0.0.1:${server?.port}`)]),
  )
  await notify(
    {
      environment: { lookup: (name: string) => here[name] },
      reporter: { warning: (text: string) => void warnings.push(text) },
      clean: (text: string) => text.replaceAll('hunter22', '***'),
    },
    NOTICE,
  )
  return { got, warnings }
}

test('Slack gets a sentence and a webhook gets the facts, both without secrets', async () => {
  const { got, warnings } = await send({ SLACK_WEBHOOK: 'HERE/slack', DEPLOY_WEBHOOK: 'HERE/hook' })
  expect(warnings).toEqual([])
  expect(got).toEqual([
    {
      path: '/slack',
      body: { text: 'shop was NOT deployed to prod by ci@runner: The new web is unhealthy; *** &lt;b&gt;' },
    },
    { path: '/hook', body: { ...NOTICE, why: 'The new web is unhealthy; *** <b>' } },
  ])
})

test('nobody is told anything where no address is set', async () => {
  expect(await send({})).toEqual({ got: [], warnings: [] })
})

test.each([
  ['HERE/slack', 404, 'The notice could not be delivered to SLACK_WEBHOOK: it answered 404.'],
  ['http://198.51.100.7/x', 200, 'The notice could not be delivered to SLACK_WEBHOOK: it is no https:// address.'],
  ['no address', 200, 'The notice could not be delivered to SLACK_WEBHOOK: it is no https:// address.'],
  ['http://127.0.0.1:1/x', 200, 'The notice could not be delivered to SLACK_WEBHOOK: it cannot be reached.'],
])('a notice to %p that cannot be delivered is a warning without the address', async (address, status, says) => {
  expect((await send({ SLACK_WEBHOOK: address }, status)).warnings).toEqual([says])
})
