# The secret that the server runs with; `yamabiko dev` prints its own
export YAMABIKO__AUTH__SECRET=…

# A token for a user, to connect with
yamabiko token --id 7 --name Aoi --channel chat:default

# Publish as the application does
yamabiko publish chat:default '{"name":"Laravel","message":"Hello"}'

# Watch a channel
yamabiko listen chat:default
