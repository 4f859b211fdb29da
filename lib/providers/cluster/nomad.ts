/** Nomad's HTTP API (documentation of Nomad 1.6 and newer: status, acl, operator/autopilot, nodes, jobs, deployments, allocations, vars, client/fs). */

import { hasCode, isServerFault, LandfallError } from '../../errors.ts'
import { Secret } from '../../secret.ts'
import type { Allocation, Deployment, Nomad } from '../ports/cluster.ts'
import { type ClusterApi, createExchange, numberOf, type Row, readQuorum, rowOf, rowsOf, textOf, wordOf } from './http.ts'

const orUndefined = async <T>(work: Promise<T>): Promise<T | undefined> => {
  try {
    return await work
  } catch (error) {
    if (hasCode(error, 'not_found')) return undefined
    throw error
  }
}

export function createNomad(options: Omit<ClusterApi, 'vendor'>): Nomad {
  const { token: _, ...withoutToken } = options
  const exchange = createExchange({ ...options, vendor: 'Nomad' })
  const anonymous = createExchange({ ...withoutToken, vendor: 'Nomad' })
  const hasLeader = async (): Promise<boolean> => {
    try {
      const leader = await anonymous('GET', '/v1/status/leader')
      return typeof leader === 'string' && leader !== ''
    } catch (error) {
      // "No cluster leader" is a 500.
      if (isServerFault(error)) return false
      throw error
    }
  }
  const id = encodeURIComponent
  const variableAt = (path: string): string => `/v1/var/${path.split('/').map(id).join('/')}`
  return {
    hasLeader,
    async bootstrapAcl(token) {
      try {
        await anonymous('PUT', '/v1/acl/bootstrap', { BootstrapSecret: token.reveal() })
        return 'ours'
      } catch (error) {
        // "ACL bootstrap already done" is a 400, with the index that an operator can reset by hand.
        if (error instanceof LandfallError && error.status === 400) return 'taken'
        throw error
      }
    },
    async knowsToken() {
      try {
        await exchange('GET', '/v1/acl/token/self')
        return true
      } catch (error) {
        if (hasCode(error, 'forbidden', 'token_invalid', 'not_found')) return false
        throw error
      }
    },
    async quorum() {
      if (!(await hasLeader())) return { state: 'none' }
      return readQuorum(exchange, server => textOf(server, 'Name').replace(/\.global$/, ''))
    },
    async listNodes() {
      return rowsOf(await exchange('GET', '/v1/nodes')).map(node => ({
        id: textOf(node, 'ID'),
        name: textOf(node, 'Name'),
        status: wordOf(node, 'Status', ['ready', 'down', 'initializing', 'disconnected'], 'down'),
        eligible: textOf(node, 'SchedulingEligibility') === 'eligible',
        draining: node.Drain === true,
        version: textOf(node, 'Version'),
      }))
    },
    async listJobs() {
      return rowsOf(await exchange('GET', '/v1/jobs')).map(job => ({ id: textOf(job, 'ID') }))
    },
    async findJob(name) {
      const found = await orUndefined(exchange('GET', `/v1/job/${id(name)}`))
      if (found === undefined) return undefined
      const job = rowOf(found)
      const [group = {}] = rowsOf(job.TaskGroups)
      const [task = {}] = rowsOf(group.Tasks)
      return {
        id: textOf(job, 'ID'),
        status: wordOf(job, 'Status', ['pending', 'running', 'dead'], 'dead'),
        stopped: job.Stop === true,
        index: numberOf(job, 'JobModifyIndex'),
        revision: numberOf(job, 'Version'),
        stable: job.Stable === true,
        meta: Object.fromEntries(Object.entries(rowOf(job.Meta)).map(([name, value]) => [name, String(value)])),
        image: textOf(rowOf(task.Config), 'image'),
        count: numberOf(group, 'Count'),
      }
    },
    async findDeployment(job) {
      const found = await exchange('GET', `/v1/job/${id(job)}/deployment`)
      return found === null || typeof found !== 'object' ? undefined : deploymentFrom(rowOf(found))
    },
    async failDeployment(deployment) {
      await exchange('POST', `/v1/deployment/fail/${id(deployment)}`)
    },
    async listAllocations(job) {
      return rowsOf(await exchange('GET', `/v1/job/${id(job)}/allocations`)).map(allocationFrom)
    },
    async setJob(body, index) {
      await exchange('POST', '/v1/jobs', { Job: body, EnforceIndex: true, JobModifyIndex: index ?? 0 })
    },
    async deleteJob(name) {
      await orUndefined(exchange('DELETE', `/v1/job/${id(name)}?purge=true`))
    },
    async drainNode(node, deadlineMs) {
      await exchange('POST', `/v1/node/${id(node)}/drain`, {
        // Those run on every machine, and end here when nothing else runs.
        DrainSpec: { Deadline: deadlineMs * 1_000_000, IgnoreSystemJobs: false },
        MarkEligible: false,
      })
    },
    async releaseNode(node) {
      await exchange('POST', `/v1/node/${id(node)}/drain`, { DrainSpec: null, MarkEligible: true })
    },
    async forgetNode(node) {
      await exchange('POST', `/v1/node/${id(node)}/purge`)
    },
    async forgetMember(name) {
      await exchange('PUT', `/v1/agent/force-leave?node=${id(`${name}.global`)}`)
    },
    async listAllocationsOn(node) {
      return rowsOf(await exchange('GET', `/v1/node/${id(node)}/allocations`)).map(allocationFrom)
    },
    async findVariables(path) {
      const found = await orUndefined(exchange('GET', variableAt(path)))
      if (found === undefined) return undefined
      const row = rowOf(found)
      return {
        index: numberOf(row, 'ModifyIndex'),
        items: new Map(
          Object.entries(rowOf(row.Items)).map(([name, value]) => [name, new Secret(name, String(value), 'unlisted')] as const),
        ),
      }
    },
    async setVariables(path, items, index) {
      // Refused with 409 when somebody changed them since they were read.
      await exchange('PUT', `${variableAt(path)}?cas=${index}`, {
        Path: path,
        Items: Object.fromEntries(items.map(([name, value]) => [name, value.reveal()])),
      })
    },
    async deleteVariables(path) {
      await orUndefined(exchange('DELETE', variableAt(path)))
    },
    async readLogs(allocation, task, stream, bytes) {
      const query = `task=${id(task)}&type=${stream}&plain=true&origin=end&offset=${bytes}`
      const text = await orUndefined(exchange('GET', `/v1/client/fs/logs/${id(allocation)}?${query}`))
      return typeof text === 'string' ? text : text === undefined ? '' : JSON.stringify(text)
    },
  }
}

const deploymentFrom = (row: Row): Deployment => {
  const groups = Object.values(rowOf(row.TaskGroups)).map(rowOf)
  const sum = (name: string) => groups.reduce((total, group) => total + numberOf(group, name), 0)
  return {
    id: textOf(row, 'ID'),
    status: wordOf(
      row,
      'Status',
      ['running', 'paused', 'failed', 'successful', 'cancelled', 'pending', 'blocked', 'unblocking'],
      'running',
    ),
    why: textOf(row, 'StatusDescription'),
    jobRevision: numberOf(row, 'JobVersion'),
    wanted: sum('DesiredTotal'),
    placed: sum('PlacedAllocs'),
    healthy: sum('HealthyAllocs'),
    unhealthy: sum('UnhealthyAllocs'),
  }
}

const allocationFrom = (row: Row): Allocation => {
  const health = rowOf(row.DeploymentStatus).Healthy
  const events = Object.values(rowOf(row.TaskStates)).flatMap(state => rowsOf(rowOf(state).Events))
  const last = events.findLast(event => textOf(event, 'DisplayMessage') !== '')
  return {
    id: textOf(row, 'ID'),
    job: textOf(row, 'JobID'),
    jobRevision: numberOf(row, 'JobVersion'),
    node: textOf(row, 'NodeName'),
    state: wordOf(row, 'ClientStatus', ['pending', 'running', 'complete', 'failed', 'lost', 'unknown'], 'unknown'),
    wanted: textOf(row, 'DesiredStatus') === 'run',
    ...(typeof health === 'boolean' ? { healthy: health } : {}),
    said: last ? textOf(last, 'DisplayMessage') : '',
  }
}
