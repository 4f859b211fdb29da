import { describe, expect, test } from 'bun:test'
import { generateKeyPairSync } from 'node:crypto'
import { renderUserData } from '../../../lib/estate/cloud-init.ts'
import { KEY } from './configs.ts'

// Made here, so that no key ever stands in a file; only its frame matters to what is tested.
const body = generateKeyPairSync('ed25519').privateKey.export({ format: 'der', type: 'pkcs8' }).toString('base64')
const PRIVATE = `-----BEGIN OPENSSH PRIVATE KEY-----\n${body.slice(0, 40)}\n${body.slice(40)}\n-----END OPENSSH PRIVATE KEY-----\n`
const base = { hostKeyPrivate: PRIVATE, hostKeyPublic: KEY, hostname: 'prod-dokploy', stock: true }

describe('user data', () => {
  test('is a cloud-config that a YAML parser reads back byte for byte', () => {
    const text = renderUserData(base)
    expect(text).toStartWith('#cloud-config\n')
    expect(Bun.YAML.parse(text)).toEqual({
      hostname: 'prod-dokploy',
      ssh_deletekeys: true,
      ssh_keys: { ed25519_private: PRIVATE, ed25519_public: KEY },
      disable_root: false,
      ssh_pwauth: false,
      package_update: false,
      package_upgrade: false,
      package_reboot_if_required: false,
      no_ssh_fingerprints: true,
    })
  })

  test("Landfall's own image takes name and key from it, nothing else", () =>
    expect(Object.keys(Object(Bun.YAML.parse(renderUserData({ ...base, stock: false }))))).toEqual([
      'hostname',
      'ssh_deletekeys',
      'ssh_keys',
    ]))

  test('a host name that could be read as another kind of value stays text', () =>
    expect(Bun.YAML.parse(renderUserData({ ...base, hostname: '0x10' }))).toMatchObject({ hostname: '0x10' }))

  const wrong: [string, Partial<typeof base>][] = [
    ['a host name with a line break', { hostname: 'a\nruncmd: [id]' }],
    ['a public key with a quote', { hostKeyPublic: `${KEY}"\nruncmd: [id]` }],
    ['a public key with options before it', { hostKeyPublic: `command="id" ${KEY}` }],
    ['a private key with something behind it', { hostKeyPrivate: `${PRIVATE}runcmd:\n  - id\n` }],
    ['a private key with carriage returns', { hostKeyPrivate: PRIVATE.replaceAll('\n', '\r\n') }],
    ['no private key', { hostKeyPrivate: '' }],
    ['more than the vendor takes', { hostKeyPrivate: PRIVATE.replace('\n', `\n${'QUJD\n'.repeat(8_000)}`) }],
  ]
  for (const [name, change] of wrong)
    test(`${name} is never rendered`, () => expect(() => renderUserData({ ...base, ...change })).toThrow('bug'))
})
