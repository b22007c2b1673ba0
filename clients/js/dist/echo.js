/* @yamabiko/client 0.1.0, MIT */
import e from"laravel-echo";import{Pusher as o}from"./pusher.js";var s=new e({broadcaster:"pusher",key:"",client:{},withoutInterceptors:!0}).connector.constructor,t=class extends s{connect(){this.pusher=this.options.client??new o(this.options.key,this.options)}},i=t;export{o as Pusher,t as YamabikoConnector,i as default};
