import { describe, expect, test } from 'bun:test'
import { BODY_LIMIT_BYTES, parseResponse } from '../../../../lib/providers/outside/http.ts'

const parsed = (text: string, ended = true) => parseResponse(Buffer.from(text, 'latin1'), ended)
const bodyOf = (text: string, ended = true) => {
  const result = parsed(text, ended)
  return result?.state === 'page' ? result.page.body : result
}

describe('reading an HTTP answer', () => {
  test('a length, chunks, and the end of the connection each end a body', () => {
    expect(bodyOf('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello trailing', false)).toBe('hello')
    expect(bodyOf('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=1\r\nhello\r\n6\r\n world\r\n0\r\n\r\n', false)).toBe(
      'hello world',
    )
    expect(bodyOf('HTTP/1.0 200 OK\r\n\r\nhello', true)).toBe('hello')
    expect(bodyOf('HTTP/1.1 204 No Content\r\n\r\n', false)).toBe('')
  })

  test('what is not complete waits, and what ends too early is broken, never a short page', () => {
    for (const part of [
      'HTTP/1.1 200 OK\r\nContent-Le',
      'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello',
      'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel',
    ]) {
      expect(parsed(part, false)).toBeUndefined()
      expect(parsed(part, true)).toEqual({ state: 'broken', why: 'the answer broke off' })
    }
    expect(parsed('', true)).toEqual({ state: 'broken', why: 'no answer came' })
    expect(parsed('SSH-2.0-OpenSSH\r\n\r\n', false)).toEqual({ state: 'broken', why: 'the answer is not HTTP' })
    expect(parsed('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', false)).toEqual({
      state: 'broken',
      why: 'the answer broke off',
    })
  })

  test('interim answers are skipped, repeated headers joined', () => {
    const result = parsed(
      'HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 302 Found\r\nLocation: /x\r\nVia: a\r\nvia: b\r\nContent-Length: 0\r\n\r\n',
    )
    expect(result).toEqual({
      state: 'page',
      page: { status: 302, headers: { location: '/x', via: 'a, b', 'content-length': '0' }, body: '' },
    })
  })

  test('no more than the first 64 KiB of a body are kept, in whichever form it comes', () => {
    const long = 'x'.repeat(BODY_LIMIT_BYTES + 10)
    const forms = [
      `HTTP/1.1 200 OK\r\nContent-Length: ${long.length}\r\n\r\n${long}`,
      `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n${long.length.toString(16)}\r\n${long}`,
      `HTTP/1.1 200 OK\r\n\r\n${long}`,
    ]
    for (const form of forms) expect(bodyOf(form, false)).toBe('x'.repeat(BODY_LIMIT_BYTES))
  })
})
