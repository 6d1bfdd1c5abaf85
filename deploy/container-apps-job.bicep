// blobferry as a job of Azure Container Apps, on a schedule: the command line in a container, without a Functions host.
// Scope: a resource group that has an environment of Container Apps, the image of the Dockerfile in a registry, an
// account with a container for the files, and a user-assigned identity with the roles AcrPull on the registry, Storage
// Blob Data Contributor on the container and Key Vault Secrets User on the vault.
// The settings are those of ingest.azure.toml beside the Dockerfile. Runs may overlap; that is safe.

@description('Name of the job.')
param name string = 'blobferry'

@description('Region of the environment.')
param location string = resourceGroup().location

@description('Id of the environment of Container Apps.')
param environmentId string

@description('Name of the identity, in this resource group.')
param identityName string

@description('The image, as contoso.azurecr.io/blobferry:0.2.0.')
param image string

@description('When runs start: five fields, minute first, UTC.')
param schedule string = '0 * * * *'

@minValue(60)
@description('Seconds after which a run is killed. The next one takes up the rest.')
param mostSeconds int = 7200

@description('Where blobs go: the blob endpoint of the account.')
param endpoint string

@description('Container that blobs go to.')
param landingContainer string = 'landing'

@description('Name of the vault with the secrets, in this resource group. None is needed if there are no secrets.')
param vaultName string = ''

@description('Environment variables that are secrets of the vault: { ACME_PASSWORD: \'acme-password\' }.')
param vaultSettings { *: string } = {}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' existing = {
  name: identityName
}

// Names of secrets of a job have small letters and hyphens alone, as those of a vault may have.
var secrets = map(items(vaultSettings), setting => {
  name: toLower(setting.value)
  keyVaultUrl: 'https://${vaultName}${environment().suffixes.keyvaultDns}/secrets/${setting.value}'
  identity: identity.id
})
var variables = map(items(vaultSettings), setting => { name: setting.key, secretRef: toLower(setting.value) })

resource job 'Microsoft.App/jobs@2025-01-01' = {
  name: name
  location: location
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: { '${identity.id}': {} }
  }
  properties: {
    environmentId: environmentId
    configuration: {
      triggerType: 'Schedule'
      scheduleTriggerConfig: {
        cronExpression: schedule
        parallelism: 1
        replicaCompletionCount: 1
      }
      replicaTimeout: mostSeconds
      // A run that fails is told as one; the next tick is the retry.
      replicaRetryLimit: 0
      registries: [{ server: split(image, '/')[0], identity: identity.id }]
      secrets: concat(secrets, [{ name: 'ingest', value: loadTextContent('../ingest.azure.toml') }])
    }
    template: {
      containers: [
        {
          name: 'blobferry'
          image: image
          args: ['run', '--quiet']
          resources: { cpu: json('0.5'), memory: '1Gi' }
          env: concat(variables, [
            { name: 'AZURE_CLIENT_ID', value: identity.properties.clientId }
            { name: 'BLOBFERRY__DESTINATION__ENDPOINT', value: endpoint }
            { name: 'BLOBFERRY__DESTINATION__CONTAINER', value: landingContainer }
          ])
          volumeMounts: [{ volumeName: 'settings', mountPath: '/etc/blobferry' }]
        }
      ]
      volumes: [
        {
          name: 'settings'
          storageType: 'Secret'
          secrets: [{ secretRef: 'ingest', path: 'ingest.toml' }]
        }
      ]
    }
  }
}

output BLOBFERRY_JOB string = job.name
