/** The identity of a machine, taken from a metadata service on loopback. */

import { afterEach, describe, expect, test } from 'bun:test'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { renderUserData } from '../../lib/estate/cloud-init.ts'
import { cleanUp, cleanUps, createMachine, type Machine } from './machine.ts'

afterEach(cleanUp)

const KEY_A = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBjYTHGYkNK7DZ4Gn0NGN1sjFUVapus4GXybEYg/ylcA'
const KEY_B = 'ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQDWg9Q1example+key/AAAA=='

const serve = (answers: Readonly<Record<string, string | number>>): string => {
  const server = Bun.serve({
    hostname: '127.0.0.1',
    port: 0,
    fetch(request) {
      const answer = answers[new URL(request.url).pathname]
      if (answer === undefined) return new Response('not found', { status: 404 })
      return typeof answer === 'number' ? new Response('', { status: answer }) : new Response(answer)
    },
  })
  cleanUps.push(() => server.stop(true))
  return `http://127.0.0.1:${server.port}`
}

const newHostKey = async (): Promise<{ privateKey: string; publicKey: string }> => {
  const directory = mkdtempSync(join(tmpdir(), 'landfall-key-'))
  cleanUps.push(() => rmSync(directory, { recursive: true, force: true }))
  const file = join(directory, 'key')
  const child = Bun.spawn(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-C', '', '-f', file])
  expect(await child.exited).toBe(0)
  return { privateKey: readFileSync(file, 'utf8'), publicKey: readFileSync(`${file}.pub`, 'utf8').trim() }
}

const userData = ({ privateKey, publicKey }: { privateKey: string; publicKey: string }): string =>
  renderUserData({ hostKeyPrivate: privateKey, hostKeyPublic: publicKey, hostname: 'prod', stock: false })

const document = (
  instance = '42',
  keys = `- ${KEY_A} somebody@laptop\n- '${KEY_B}\n  somebody else'`,
): string => `availability-zone: nbg1-dc3
hostname: prod
instance-id: ${instance}
local-ipv4: ''
network-config:
  config:
  - mac_address: 96:00:00:08:19:da
    name: eth0
    subnets:
    - dns_nameservers:
      - 185.12.64.1
      ipv4: true
      type: dhcp
    type: physical
  - name: eth0:0
    subnets:
    - address: 2001:db8:beef:1::1/64
      gateway: fe80::1
      ipv6: true
      type: static
    type: physical
  version: 1
public-ipv4: 192.0.2.10
public-keys:
${keys}
region: eu-central
vendor_data: "ssh-rsa AAAAvendor"
`

const PRIVATE = `- ip: 10.0.1.4
  alias_ips: []
  mac_address: 86:00:00:2a:7d:e0
  network: 10.0.0.0/16
`

const HOST_KEY = 'etc/ssh/ssh_host_ed25519_key'
const NETWORK = 'etc/systemd/network/10-landfall-public.network'

describe('metadata on Hetzner', () => {
  const answersOf = (key: { privateKey: string; publicKey: string }, text = document()) => ({
    '/hetzner/v1/metadata': text,
    '/hetzner/v1/userdata': userData(key),
    '/hetzner/v1/metadata/private-networks': PRIVATE,
  })
  const run = (machine: Machine, answers: Readonly<Record<string, string | number>>) =>
    machine.run('metadata', { PROVIDER: 'hetzner', METADATA_URL: serve(answers) })

  test('a new machine takes its name, its login keys, its pinned host key and its addresses', async () => {
    const [machine, key] = [createMachine(), await newHostKey()]
    machine.put('etc/ssh/ssh_host_rsa_key', 'of somebody else')
    expect(await run(machine, answersOf(key))).toEqual({ code: 0, said: '' })
    expect(machine.read('etc/hostname')).toBe('prod\n')
    expect(machine.read('proc/sys/kernel/hostname')).toBe('prod\n')
    expect(machine.read('root/.ssh/authorized_keys')).toBe(`${KEY_A}\n${KEY_B}\n`)
    expect(machine.mode('root/.ssh/authorized_keys')).toBe('600')
    expect(machine.mode('root/.ssh')).toBe('700')
    expect(machine.read(HOST_KEY).trim()).toBe(key.privateKey.trim())
    expect(machine.mode(HOST_KEY)).toBe('600')
    expect(machine.read(`${HOST_KEY}.pub`).trim()).toBe(key.publicKey)
    expect(existsSync(machine.path('etc/ssh/ssh_host_rsa_key'))).toBe(false)
    expect(machine.read('run/landfall/private-ipv4')).toBe('10.0.1.4\n')
    expect(machine.read(NETWORK)).toContain('MACAddress=96:00:00:08:19:da')
    expect(machine.read(NETWORK)).toContain('Address=2001:db8:beef:1::1/64')
    expect(machine.mode(NETWORK)).toBe('644')
    expect(machine.calls()).toContain('networkctl reload')
  })

  test('a reboot changes nothing: a host key that was replaced and a login key that was taken away stay so', async () => {
    const [machine, key] = [createMachine(), await newHostKey()]
    const answers = answersOf(key)
    await run(machine, answers)
    machine.put(HOST_KEY, 'replaced')
    machine.put('root/.ssh/authorized_keys', `${KEY_A}\n`)
    machine.put('calls', '')
    expect(await run(machine, answers)).toEqual({ code: 0, said: '' })
    expect(machine.read(HOST_KEY)).toBe('replaced')
    expect(machine.read('root/.ssh/authorized_keys')).toBe(`${KEY_A}\n`)
    expect(machine.calls()).toBe('')
  })

  test('a machine made from a snapshot of another one gets an identity of its own', async () => {
    const [machine, key] = [createMachine(), await newHostKey()]
    await run(machine, answersOf(key))
    machine.put('var/lib/landfall/host-key-seeded', '')
    const next = await newHostKey()
    await run(machine, answersOf(next, document('43')))
    expect(machine.read(`${HOST_KEY}.pub`).trim()).toBe(next.publicKey)

    await run(machine, { '/hetzner/v1/metadata': document('44') })
    expect(existsSync(machine.path(HOST_KEY))).toBe(false)
  })

  test('a host key that the installation brought is kept, not replaced by the one of the user data', async () => {
    const [machine, key] = [createMachine(), await newHostKey()]
    machine.put(HOST_KEY, 'brought by the installation')
    machine.put('var/lib/landfall/host-key-seeded', '')
    expect((await run(machine, answersOf(key))).code).toBe(0)
    expect(machine.read(HOST_KEY)).toBe('brought by the installation')
    expect(machine.read('etc/hostname')).toBe('prod\n')
  })

  test('a service that fails leaves everything as it was, so that the next try begins anew', async () => {
    const [machine, key] = [createMachine(), await newHostKey()]
    const { code, said } = await run(machine, { ...answersOf(key), '/hetzner/v1/userdata': 403 })
    expect(code).toBe(1)
    expect(said).toContain('answers /hetzner/v1/userdata with 403')
    for (const name of [HOST_KEY, 'root/.ssh/authorized_keys', 'etc/hostname', 'var/lib/landfall/metadata/instance'])
      expect(existsSync(machine.path(name))).toBe(false)
    expect((await run(machine, answersOf(key))).code).toBe(0)
    expect(machine.read(`${HOST_KEY}.pub`).trim()).toBe(key.publicKey)
    // sshd came up with a key of its own in between.
    expect(machine.calls()).toContain('systemctl reload --no-block sshd.service')
  })

  test('a broken host key, a missing instance id and a hostile name are refused before anything is recorded', async () => {
    const key = await newHostKey()
    const answers = answersOf(key)
    const broken = answers['/hetzner/v1/userdata'].replace(/[A-Za-z0-9]{20}\n/, 'broken\n')
    for (const wrong of [
      { ...answers, '/hetzner/v1/userdata': broken },
      { ...answers, '/hetzner/v1/metadata': document('') },
      { ...answers, '/hetzner/v1/metadata': document().replace('hostname: prod', 'hostname: a;reboot') },
    ]) {
      const machine = createMachine()
      expect((await run(machine, wrong)).code).toBe(1)
      expect(existsSync(machine.path('var/lib/landfall/metadata/instance'))).toBe(false)
      expect(existsSync(machine.path(HOST_KEY))).toBe(false)
    }
  })

  test('options in front of a login key are left behind, and no key at all leaves the ones that are there', async () => {
    const machine = createMachine()
    machine.put('root/.ssh/authorized_keys', 'kept\n')
    const { said } = await run(machine, { '/hetzner/v1/metadata': document('42', '[]') })
    expect(said).toContain('names no login key')
    expect(machine.read('root/.ssh/authorized_keys')).toBe('kept\n')
    await run(machine, { '/hetzner/v1/metadata': document('43', `- command="reboot" ${KEY_A}`) })
    expect(machine.read('root/.ssh/authorized_keys')).toBe(`${KEY_A}\n`)
  })
})

test('metadata on DigitalOcean gives the same identity, and leaves the network to cloud-init', async () => {
  const [machine, key] = [createMachine(), await newHostKey()]
  const METADATA_URL = serve({
    '/metadata/v1/id': '2756294',
    '/metadata/v1/hostname': 'backend',
    '/metadata/v1/public-keys': `${KEY_A} one\n${KEY_B} two\n`,
    '/metadata/v1/user-data': userData(key),
    '/metadata/v1/interfaces/private/0/ipv4/address': '10.120.0.2',
  })
  expect(await machine.run('metadata', { PROVIDER: 'digitalocean', METADATA_URL })).toEqual({ code: 0, said: '' })
  expect(machine.read('etc/hostname')).toBe('backend\n')
  expect(machine.read('root/.ssh/authorized_keys')).toBe(`${KEY_A}\n${KEY_B}\n`)
  expect(machine.read(`${HOST_KEY}.pub`).trim()).toBe(key.publicKey)
  expect(machine.read('run/landfall/private-ipv4')).toBe('10.120.0.2\n')
  expect(existsSync(machine.path(NETWORK))).toBe(false)
})
