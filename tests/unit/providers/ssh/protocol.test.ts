import { describe, expect, test } from 'bun:test'
import { hasCode } from '../../../../lib/errors.ts'
import type { Program, Target } from '../../../../lib/providers/ports/machine.ts'
import { effectOf, PROGRAM_TEXTS } from '../../../../lib/providers/ssh/programs.ts'
import { parseOutput, REMOTE_COMMAND, renderRequest } from '../../../../lib/providers/ssh/protocol.ts'
import { quoteForSh } from '../../../../lib/providers/ssh/quote.ts'
import { checkTarget, connectionId } from '../../../../lib/providers/ssh/target.ts'
import { Secret } from '../../../../lib/secret.ts'

const program: Program = { name: 'trial', text: '# landfall:trial\necho ü\n', timeoutMs: 1_000 }
const isUsage = (work: () => unknown) => {
  try {
    work()
  } catch (error) {
    return hasCode(error, 'usage', 'config')
  }
  return false
}

describe('a request', () => {
  test('is the program’s length in bytes, the program, the values, and a full stop', () => {
    const text = renderRequest(program, { EMAIL: 'a@example.com', KEY: new Secret('key', 'x\ny'), EMPTY: '' }).toString()
    expect(text).toBe('25\n# landfall:trial\necho ü\nEMAIL YUBleGFtcGxlLmNvbQ==\nKEY eAp5\nEMPTY \n.\n')
  })

  test('holds nothing of a value in the clear, and the remote command holds none at all', () => {
    expect(renderRequest(program, { KEY: new Secret('key', 'very-secret-value') }).toString()).not.toContain('very-secret')
    expect(REMOTE_COMMAND).toBe(`sh -c 'read -r n; p=$(head -c "$n"); exec sh -c "$p" landfall'`)
  })

  test('is refused before sending when a value, a name or a program cannot arrive as it is', () => {
    expect(isUsage(() => renderRequest(program, { KEY: 'a\0b' }))).toBe(true)
    expect(isUsage(() => renderRequest(program, { KEY: '\ud800' }))).toBe(true)
    for (const name of ['', 'a', 'A B', 'A\nB', 'A;B', '1A', '-A', 'A\u001b', 'Ä'])
      expect(isUsage(() => renderRequest(program, { [name]: 'x' }))).toBe(true)
    expect(isUsage(() => renderRequest({ ...program, text: 'echo no header\n' }))).toBe(true)
    expect(isUsage(() => renderRequest({ ...program, name: 'other' }))).toBe(true)
    expect(isUsage(() => renderRequest({ ...program, text: `${program.text}\0` }))).toBe(true)
    expect(isUsage(() => renderRequest({ ...program, text: program.text + '#'.repeat(128 * 1024) }))).toBe(true)
  })

  test('carries every program that ships', () => {
    for (const each of Object.values(PROGRAM_TEXTS)) expect(renderRequest(each).length).toBeGreaterThan(1_000)
  })
})

test('output that is cut inside a character is decoded as a whole', () => {
  const bytes = Buffer.from('grün 😀')
  expect(parseOutput([...bytes].map(byte => Uint8Array.of(byte)))).toBe('grün 😀')
  expect(parseOutput([Uint8Array.of(0x61, 0xff, 0x62)])).toBe('a\ufffdb')
})

test('only programs that are known to read count as reading', () => {
  expect(['facts', 'read-dokploy-login', 'watch-dokploy-install', 'inspect'].map(effectOf)).toEqual([
    'read',
    'read',
    'read',
    'read',
  ])
  expect(['rotate-host-key', 'write-dokploy-login', 'start-dokploy-install', 'toString', 'unknown'].map(effectOf)).toEqual([
    'write',
    'write',
    'write',
    'write',
    'write',
  ])
})

describe('a target', () => {
  const target: Target = {
    name: 'prod',
    address: '203.0.113.7',
    port: 22,
    user: 'root',
    hostKeyAlias: 'demo-4711',
    hostKey: 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ',
  }

  test('is accepted when every part is what it says', () => {
    for (const address of ['203.0.113.7', '2001:db8::7']) expect(() => checkTarget({ ...target, address })).not.toThrow()
  })

  test('is refused when a part could be an option, a name, or a second line', () => {
    const wrong: Partial<Target>[] = [
      { address: 'example.com' },
      { address: '-oProxyCommand=id' },
      { address: '203.0.113.7\n' },
      { address: 'fe80::1%eth0' },
      { address: '' },
      { port: 0 },
      { port: 65_536 },
      { port: 22.5 },
      { port: Number.NaN },
      { user: '-root' },
      { user: 'root x' },
      { user: '' },
      { hostKeyAlias: '*' },
      { hostKeyAlias: 'a,b' },
      { hostKeyAlias: '../x' },
      { hostKeyAlias: 'a\nb' },
      { hostKey: `${target.hostKey}\n* ssh-ed25519 AAAA` },
      { hostKey: `${target.hostKey} comment` },
      { hostKey: 'ssh-rsa AAAA' },
      { hostKey: '' },
    ]
    for (const part of wrong)
      expect({ part, refused: isUsage(() => checkTarget({ ...target, ...part })) }).toEqual({ part, refused: true })
  })

  test('has another connection for another address, user, pin or alias', () => {
    const others: Partial<Target>[] = [
      {},
      { address: '203.0.113.8' },
      { port: 23 },
      { user: 'admin' },
      { hostKeyAlias: 'demo-1' },
      { hostKey: target.hostKey.replace('JdD7', 'JdD8') },
    ]
    expect(new Set(others.map(part => connectionId({ ...target, ...part }))).size).toBe(others.length)
    expect(connectionId({ ...target, name: 'renamed' })).toBe(connectionId(target))
  })
})

test('a quoted word is one word for sh, whatever is in it', () => {
  const words = [`it's`, '$(id)', '`id`', '-n', '', '*', 'a\nb', '\\', '"', '%s', 'ü😀', "''", '!x']
  const printed = Bun.spawnSync(['sh', '-c', `printf '%s\\036' ${words.map(quoteForSh).join(' ')}`]).stdout.toString()
  expect(printed.split('\u001e').slice(0, -1)).toEqual(words)
})
