import { afterEach, expect, test } from 'bun:test'
import { createHmac } from 'node:crypto'
import { BODY_LIMIT_BYTES, coalesce, isSigned, type Receiver, receiveWebhooks } from '../../../lib/preview/webhook.ts'
import { Secret } from '../../../lib/secret.ts'

const secret = new Secret('PREVIEW_WEBHOOK_SECRET', 'a secret of at least sixteen characters')
const sign = (body: string): string => `sha256=${createHmac('sha256', secret.reveal()).update(body).digest('hex')}`

const open: Receiver[] = []
afterEach(async () => {
  for (const each of open.splice(0)) await each.close()
})

const receive = () => {
  const seen: string[] = []
  const receiver = receiveWebhooks({ port: 0, hostname: '127.0.0.1', secret, onDelivery: ({ event }) => seen.push(event) })
  open.push(receiver)
  const send = async (body: string, headers: Record<string, string>) => {
    const answer = await fetch(receiver.url, {
      method: 'POST',
      body,
      headers: { 'x-github-event': 'pull_request', 'x-github-delivery': 'd1', ...headers },
    })
    return answer.status
  }
  return { receiver, seen, send }
}

test('GitHub’s own example of a signature', () => {
  // "Validating webhook deliveries", testing the webhook payload validation.
  const known = new Secret('example', "It's a Secret to Everybody")
  expect(
    isSigned(Buffer.from('Hello, World!'), 'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17', known),
  ).toBe(true)
  expect(
    isSigned(Buffer.from('Hello, World!!'), 'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17', known),
  ).toBe(false)
})

test('a good delivery is taken, doubled ones too; anything else changes nothing', async () => {
  const { seen, send, receiver } = receive()
  const body = '{"action":"opened"}'
  expect(await send(body, { 'x-hub-signature-256': sign(body) })).toBe(202)
  expect(await send(body, { 'x-hub-signature-256': sign(body) })).toBe(202)
  expect(await send(`${body} `, { 'x-hub-signature-256': sign(body) })).toBe(401)
  expect(await send(body, {})).toBe(401)
  expect(await send(body, { 'x-hub-signature-256': 'sha256=' })).toBe(401)
  expect(await send(body, { 'x-hub-signature-256': sign(body).replace('sha256', 'sha1') })).toBe(401)
  expect(await send(body, { 'x-hub-signature-256': sign(body), 'x-github-event': 'star' })).toBe(202)
  expect(await send(body, { 'x-hub-signature-256': sign(body), 'x-github-event': 'ping' })).toBe(200)
  expect((await fetch(receiver.url)).status).toBe(405)
  expect((await fetch(receiver.url.replace('webhook', 'other'), { method: 'POST' })).status).toBe(404)
  expect(seen).toEqual(['pull_request', 'pull_request'])
})

test('a body that is too large is not read, even with a right signature', async () => {
  const { seen, send } = receive()
  const body = 'x'.repeat(BODY_LIMIT_BYTES + 1)
  expect(await send(body, { 'x-hub-signature-256': sign(body) })).toBe(413)
  expect(seen).toEqual([])
})

test('notices during a look cause one more, and never two at once', async () => {
  let running = 0
  let looks = 0
  const gates: (() => void)[] = []
  const looking = coalesce(async () => {
    expect(++running).toBe(1)
    looks++
    await new Promise<void>(resolve => gates.push(resolve))
    running--
  })
  looking.notice()
  for (let i = 0; i < 50; i++) looking.notice()
  await Bun.sleep(1)
  gates.shift()?.()
  await Bun.sleep(1)
  gates.shift()?.()
  await looking.idle()
  expect(looks).toBe(2)
})
