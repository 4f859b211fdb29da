/** Objects of somebody else that look like ours: same prefix without a label, or our label with another estate's name. */

import { SANDBOX_TOKENS, type Sandbox } from '../../../lib/sandbox/sandbox.ts'

export const ZONE = 'example.com'

const key = (seed: number): string => {
  const length = (bytes: number): Buffer => Buffer.from([0, 0, 0, bytes])
  const type = Buffer.from('ssh-ed25519')
  return `ssh-ed25519 ${Buffer.concat([length(11), type, length(32), Buffer.alloc(32, seed)]).toString('base64')} stranger@example.net`
}

const OTHER = { 'landfall/estate': 'example2', 'landfall/role': 'prod' }

/** Plants them in a new world and waits until they stand. */
export async function plantStrangers(sandbox: Sandbox): Promise<void> {
  const post = async (path: string, body: unknown): Promise<void> => {
    const answer = await fetch(`${sandbox.environment.HCLOUD_ENDPOINT}${path}`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${SANDBOX_TOKENS.hetzner}`, 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    })
    if (!answer.ok) throw new Error(`planting ${path} failed: ${await answer.text()}`)
  }
  const rules = [{ direction: 'in', protocol: 'tcp', port: '22', source_ips: ['192.0.2.0/24'] }]
  await post('/firewalls', { name: 'example-dokploy-2', rules, labels: OTHER })
  await post('/firewalls', { name: 'example', rules })
  await post('/firewalls', {
    name: 'landfall-lock-example2',
    rules: [],
    labels: { 'landfall/lock': 'true', 'landfall/lock-holder.0': 'stranger' },
  })
  await post('/ssh_keys', { name: 'example-root', public_key: key(7), labels: OTHER })
  await post('/ssh_keys', { name: 'example', public_key: key(8) })
  await post('/networks', { name: 'example-2', ip_range: '10.9.0.0/16', labels: OTHER })
  await post('/placement_groups', { name: 'example-2', type: 'spread', labels: OTHER })
  const server = { server_type: 'cx23', image: 'debian-12', location: 'nbg1', ssh_keys: ['example'] }
  await post('/servers', { name: 'example-prod-dokploy', ...server })
  await post('/servers', { name: 'prod-dokploy-2', ...server, labels: OTHER })
  await post('/primary_ips', { name: 'example-dokploy', type: 'ipv4', location: 'nbg1', labels: OTHER })

  const { addRecord } = sandbox.controls.cloudflare
  addRecord(ZONE, { type: 'A', name: `www.${ZONE}`, content: '192.0.2.10', ttl: 300 })
  addRecord(ZONE, { type: 'TXT', name: `admin.${ZONE}`, content: '"somebody else\'s proof"', ttl: 300 })
  addRecord(ZONE, { type: 'CAA', name: ZONE, data: { flags: 0, tag: 'issue', value: 'letsencrypt.org' }, ttl: 300 })
  addRecord(ZONE, {
    type: 'A',
    name: `old.${ZONE}`,
    content: '192.0.2.11',
    ttl: 300,
    comment: 'landfall estate=example2 server=prod id=1',
  })
  addRecord(ZONE, { type: 'CNAME', name: `shop.${ZONE}`, content: 'shops.example.net', ttl: 300 })
  while (sandbox.controls.hetzner.nextEventAtMs() !== undefined) {
    await Bun.sleep(5)
    sandbox.controls.hetzner.settle()
  }
}
