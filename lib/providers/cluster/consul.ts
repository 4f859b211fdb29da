/** Consul's HTTP API (documentation of Consul 1.14 and newer: status, operator/autopilot, agent, acl, health). */

import type { Consul } from '../ports/cluster.ts'
import { type ClusterApi, createExchange, numberOf, readQuorum, rowOf, rowsOf, textOf } from './http.ts'

/** Gossip's numbers for a member's state. */
const STATES: Readonly<Record<number, 'alive' | 'left' | 'failed'>> = { 1: 'alive', 3: 'left', 4: 'failed' }

export function createConsul(options: Omit<ClusterApi, 'vendor'>): Consul {
  const exchange = createExchange({ ...options, vendor: 'Consul' })
  const hasLeader = async (): Promise<boolean> => {
    const leader = await exchange('GET', '/v1/status/leader')
    return typeof leader === 'string' && leader !== ''
  }
  return {
    hasLeader,
    async quorum() {
      if (!(await hasLeader())) return { state: 'none' }
      return readQuorum(exchange, server => textOf(server, 'Name'))
    },
    async listMembers() {
      return rowsOf(await exchange('GET', '/v1/agent/members')).map(member => ({
        name: textOf(member, 'Name'),
        state: STATES[numberOf(member, 'Status')] ?? 'other',
      }))
    },
    async forgetMember(name) {
      await exchange('PUT', `/v1/agent/force-leave/${encodeURIComponent(name)}?prune`)
    },
    async listPolicies() {
      return rowsOf(await exchange('GET', '/v1/acl/policies')).map(policy => ({
        id: textOf(policy, 'ID'),
        name: textOf(policy, 'Name'),
      }))
    },
    async setPolicy({ name, rules }) {
      await exchange('PUT', '/v1/acl/policy', { Name: name, Rules: rules })
    },
    async deletePolicy(id) {
      await exchange('DELETE', `/v1/acl/policy/${encodeURIComponent(id)}`)
    },
    async listTokens() {
      return rowsOf(await exchange('GET', '/v1/acl/tokens')).map(token => ({
        id: textOf(token, 'AccessorID'),
        description: textOf(token, 'Description'),
        policies: rowsOf(token.Policies).map(policy => textOf(policy, 'Name')),
      }))
    },
    async createToken({ secret, description, policies }) {
      await exchange('PUT', '/v1/acl/token', {
        SecretID: secret.reveal(),
        Description: description,
        Policies: policies.map(name => ({ Name: name })),
      })
    },
    async deleteToken(id) {
      await exchange('DELETE', `/v1/acl/token/${encodeURIComponent(id)}`)
    },
    async healthyInstances(service) {
      return rowsOf(await exchange('GET', `/v1/health/service/${encodeURIComponent(service)}?passing=true`)).map(entry => {
        const instance = rowOf(entry.Service)
        return `${textOf(instance, 'Address')}:${numberOf(instance, 'Port')}`
      })
    },
  }
}
