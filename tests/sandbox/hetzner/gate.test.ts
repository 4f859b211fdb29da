import { describe, expect, test } from 'bun:test'
import { OTHER_TOKEN, openWorld, publicKey, READ_TOKEN, TOKEN } from './world.ts'

describe('who may come in', () => {
  test('an unknown path is 404 even without a token, since routing precedes authentication', () => {
    const world = openWorld()
    expect(world.send('GET', '/nothing', undefined, null)).toMatchObject({ status: 404, code: 'not_found' })
    expect(world.send('GET', '/servers/abc', undefined, null)).toMatchObject({ status: 404 })
  })

  test('a missing token and a wrong token are 401, with the vendor’s sentences', () => {
    const world = openWorld()
    const missing = world.send('GET', '/servers', undefined, null)
    expect(missing).toMatchObject({ status: 401, code: 'unauthorized' })
    expect(missing.body.at('error', 'message').value).toBe('token is required')
    const wrong = world.send('GET', '/servers', undefined, 'x'.repeat(64))
    expect(wrong.body.at('error', 'message').value).toBe('the token you have provided is invalid')
    expect(world.send('PATCH', '/servers', undefined, null).status).toBe(401)
  })

  test('a wrong method is 405 with a token', () => {
    expect(openWorld().send('DELETE', '/servers')).toMatchObject({ status: 405, code: 'method_not_allowed' })
  })

  test('a read-only token reads, and is refused a write before its body is looked at', () => {
    const world = openWorld()
    expect(world.send('GET', '/servers', undefined, READ_TOKEN).status).toBe(200)
    expect(world.send('POST', '/servers', 'not json', READ_TOKEN)).toMatchObject({ status: 403, code: 'forbidden' })
    world.control.setReadOnlyAnswer({ status: 401, code: 'token_readonly' })
    expect(world.send('DELETE', '/servers/1', undefined, READ_TOKEN)).toMatchObject({ status: 401, code: 'token_readonly' })
  })

  test('projects do not see each other, and may use the same names and keys', () => {
    const world = openWorld()
    const key = { name: 'laptop', public_key: publicKey(1) }
    const id = world.send('POST', '/ssh_keys', key).body.at('ssh_key', 'id').number()
    expect(world.send('GET', `/ssh_keys/${id}`, undefined, OTHER_TOKEN).status).toBe(404)
    expect(world.send('GET', '/ssh_keys', undefined, OTHER_TOKEN).body.at('ssh_keys').list()).toHaveLength(0)
    expect(world.send('POST', '/ssh_keys', key, OTHER_TOKEN).status).toBe(201)
  })

  test('the store holds no token', () => {
    const world = openWorld()
    world.send('GET', '/servers')
    const names = ['hetzner.tokens', 'hetzner.buckets', 'hetzner.rules']
    const text = JSON.stringify(names.map(name => world.store.collection(name).all()))
    expect(text).not.toContain(TOKEN)
  })

  test('every answer has a correlation id of its own', () => {
    const world = openWorld()
    const ids = [
      world.send('GET', '/servers'),
      world.send('GET', '/nothing', undefined, null),
      world.send('POST', '/servers', {}),
    ].map(answer => answer.headers['X-Correlation-Id'])
    expect(new Set(ids).size).toBe(3)
    expect(ids).not.toContain(undefined)
  })
})

describe('rate limit', () => {
  test('a project has 3600 requests and gets one back a second; both its tokens draw on them', () => {
    const world = openWorld({ rateLimits: true })
    for (let n = 0; n < 1800; n++) {
      world.send('GET', '/locations/1')
      world.send('GET', '/locations/1', undefined, READ_TOKEN)
    }
    const refused = world.send('GET', '/locations/1')
    expect(refused).toMatchObject({ status: 429, code: 'rate_limit_exceeded' })
    expect(refused.headers).toMatchObject({ 'RateLimit-Limit': '3600', 'RateLimit-Remaining': '0' })
    expect(Number(refused.headers['RateLimit-Reset'])).toBe(world.clock.nowMs() / 1000 + 3600)
    expect(world.send('GET', '/locations/1', undefined, OTHER_TOKEN).status).toBe(200)
    world.pass(1000)
    expect(world.send('GET', '/locations/1').status).toBe(200)
    expect(world.send('GET', '/locations/1').status).toBe(429)
  })

  test('is only counted when it is not enforced', () => {
    const world = openWorld()
    for (let n = 0; n < 3700; n++) world.send('GET', '/locations/1')
    const answer = world.send('GET', '/locations/1')
    expect(answer.status).toBe(200)
    expect(answer.headers['RateLimit-Remaining']).toBe('0')
  })
})
